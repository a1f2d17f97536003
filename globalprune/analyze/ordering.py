"""Walks the windows through the halves: orders of removal, trials of them, and the losses of both.

What the losses are used for is not known here.
"""

from dataclasses import dataclass
from typing import Any

from globalprune.analyze.subject import Subject
from globalprune.artifacts.run_folder import RunFolder
from globalprune.obs.order_groups import Removal, removal_of
from globalprune.obs.removal_order import measured_losses
from globalprune.obs.trials import Trials, removal_trials
from globalprune.progress import Progress
from globalprune.statistics.hooks import frozen
from globalprune.statistics.interface import GroupSums, Split, Statistic
from globalprune.sublayers.residual_stream import halves_of, layers_of
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Ordered:
    """Every half's order of removal, and what trials of it came to, if there were any."""

    removal: Removal
    trials: Trials

    def losses(self) -> Split[dict[Statistic, GroupSums]]:
        """The losses of all groups as statistics, as predicted and as measured.

        By each half of the windows there are only predictions: too few windows judge the trials.
        """
        predicted, scaled = self.removal.losses, {}
        for place, order in self.removal.orders.items():
            if place in self.trials:
                scaled[place] = measured_losses(order, self.trials[place]).by_group
        if self.removal.halves is None:
            return Split(_named(predicted, scaled))
        first, second = (_named(half, half) for half in self.removal.halves)
        return Split(_named(predicted, scaled), (first, second))


def order_groups(
    loaded: Any,
    subject: Subject,
    windows: TokenWindows,
    curvature: Split[GroupSums],
    *,
    trying: bool,
    batch_size: int,
    work: RunFolder,
    progress: Progress,
) -> Ordered:
    """Order the groups of all halves, and try some removals if asked.

    `work` keeps what is found, and what lies there is not looked for again.
    """
    layers = layers_of(loaded, subject.adapter, subject.structure)
    halves = halves_of(loaded, subject.adapter, subject.structure)
    running = (loaded, layers, halves, windows)
    with frozen(loaded):
        removal = removal_of(
            *running,
            curvature,
            batch_size=batch_size,
            kept=work.part("orders"),
            progress=progress,
        )
        trials: Trials = {}
        if trying:
            trials = removal_trials(
                *running,
                removal.orders,
                batch_size=batch_size,
                kept=work.part("trials"),
                progress=progress,
            )
    return Ordered(removal, trials)


def _named(predicted: GroupSums, scaled: GroupSums) -> dict[Statistic, GroupSums]:
    """Losses by the names of the statistics that they are."""
    measured: dict[Statistic, GroupSums] = {"measured_removal_loss": scaled} if scaled else {}
    return {"removal_loss": predicted, **measured}
