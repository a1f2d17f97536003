"""Tries what the first plan of an analysis removes, while the model that was measured is loaded.

What is tried is handed in: this phase knows nothing of planning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from globalprune.analysis.prior_plan import PriorPlan
from globalprune.analysis.request import Subject
from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.reliability import Trial, TrialCut, trial_of, window_count
from globalprune.artifacts.structure import RemovedGroups
from globalprune.progress import Progress
from globalprune.statistics.hooks import find_sites, frozen
from globalprune.statistics.loss import window_losses
from globalprune.statistics.masking import masked
from globalprune.text.calibration import CalibrationText
from globalprune.text.windows import TokenWindows

Candidates = Callable[[Analysis, RemovedGroups], Sequence[TrialCut]]  # what is decided, by then


@dataclass(frozen=True)
class PlanTrial:
    """A loaded model, the text it was measured on, and what makes candidates of an analysis."""

    loaded: Any
    subject: Subject
    text: CalibrationText
    given: PriorPlan | None
    progress: Progress
    candidates: Candidates | None

    def run(self, analysis: Analysis) -> Trial | None:
        """Mask every candidate on a few windows; None where there is nothing to try."""
        if self.candidates is None:
            return None
        tried = self.candidates(analysis, {} if self.given is None else self.given.groups)
        if not tried:
            return None
        windows = self._windows()
        removals: list[RemovedGroups] = [{}, *(one.groups for one in tried)]
        dense, *others = self._losses(windows, removals)
        structure = self.subject.structure
        return trial_of(
            tried,
            {one.name: losses for one, losses in zip(tried, others, strict=True)},
            dense,
            [len(row) - 1 for row in windows.rows],
            importance=analysis.record.default_importance,
            ratio=tried[0].parameters / structure.parameters,
            vocabulary=self.subject.figures.require("vocab_size"),
            unused=self.text.unused is not None,
        )

    def _windows(self) -> TokenWindows:
        """The windows that nothing was measured with, else as few of those that were."""
        if self.text.unused is not None:
            return self.text.unused
        measured = self.text.windows
        return replace(measured, rows=measured.rows[: window_count(len(measured.rows))])

    @torch.no_grad()
    def _losses(
        self, windows: TokenWindows, removals: Sequence[RemovedGroups]
    ) -> list[list[float]]:
        """The loss of every window without the groups of each removal.

        One at a time, so that the logits of a single window are all there is beside the model.
        """
        structure = self.subject.structure
        layers = range(len(structure.layers))
        sites = find_sites(self.loaded, self.subject.adapter, structure, layers)
        rounds = [(index, row) for index in range(len(removals)) for row in windows.rows]
        losses: list[list[float]] = [[] for _ in removals]
        with frozen(self.loaded):
            for index, row in self.progress(
                rounds, total=len(rounds), label="trying the plan", unit="windows"
            ):
                with masked(sites, removals[index]):
                    losses[index] += window_losses(self.loaded, row[None].to(self.loaded.device))
        return losses
