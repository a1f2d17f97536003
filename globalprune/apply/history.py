"""What gp did to a model before this cut: the model that all began with, every step, the map to it.

It is read from the records in the model's own folder. Where they are of other weights, another tool
had the model since; its groups are then still those of the first model, if their numbers agree.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from globalprune.apply.origin import compose, group_key, group_keys, read_origin
from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis_record
from globalprune.artifacts.command import Command
from globalprune.artifacts.own_files import ORIGIN_FILE
from globalprune.artifacts.results.finetuning import RECOVERY_FILE, RecoveryRun, read_recovery
from globalprune.artifacts.results.metrics import (
    METRICS_FILE,
    ApplyMetrics,
    EarlierStep,
    FirstModel,
    read_metrics,
)
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.output_folder import records_of


@dataclass(frozen=True)
class History:
    """All of it; a model that gp never changed has none."""

    first: FirstModel | None = None
    steps: tuple[EarlierStep, ...] = ()
    origin: pa.Table | None = None
    warnings: tuple[str, ...] = ()

    def origin_of(self, table: pa.Table) -> pa.Table:
        """The map of this cut, led on to the first model's groups."""
        return table if self.origin is None else compose(table, self.origin)


def history_of(checkpoint: Checkpoint, structure: ModelStructure, weights: str) -> History:
    """Read what the model's folder knows; raise for a record that is damaged."""
    folder = records_of(checkpoint.source)
    cut = read_metrics(folder / METRICS_FILE) if (folder / METRICS_FILE).is_file() else None
    recovery = folder / RECOVERY_FILE
    runs = read_recovery(recovery).runs if recovery.is_file() else ()
    if cut is None and not runs:
        return History()
    steps = [*(cut.earlier if cut else ()), *([_cut(folder, cut)] if cut else ())]
    steps += map(_finetuning, runs)
    path, warnings = folder / ORIGIN_FILE, []
    origin = read_origin(path) if cut is not None and path.is_file() else None
    if origin is not None and not _fits(origin, structure):
        where = f"{checkpoint.source.name}: its {ORIGIN_FILE} counts other groups than it has"
        warnings.append(f"{where}; the new one leads to this model, not to the first.")
        origin = None
    if steps[-1].weights not in (None, weights):
        warnings.append(
            f"{checkpoint.source.name}: its records are of other weights, so another tool changed "
            "it since; that step is not in its history."
        )
    return History(_first(cut, runs, checkpoint.parameters), tuple(steps), origin, tuple(warnings))


def _first(cut: ApplyMetrics | None, runs: tuple[RecoveryRun, ...], parameters: int) -> FirstModel:
    """The model that was there before gp changed anything."""
    if cut is not None:
        return cut.begun_with
    source = runs[0].model
    return FirstModel(
        source=source.source,
        revision=source.revision,
        weights=source.weights,
        parameters=parameters,
    )


def _cut(folder: Path, cut: ApplyMetrics) -> EarlierStep:
    """The cut that the folder is the result of."""
    analysis = folder / ANALYSIS_FILE
    measured: Command = ()
    if analysis.is_file():
        measured = read_analysis_record(analysis).command
    return EarlierStep(
        kind="cut",
        model=cut.model.source,
        revision=cut.model.revision,
        weights_before=cut.model.weights,
        weights=cut.weights,
        parameters_before=cut.parameters_before,
        parameters_after=cut.parameters_after,
        plan=cut.plan,
        compensated=bool(cut.repaired_modules),
        measured_by=measured,
        command=cut.command,
    )


def _finetuning(run: RecoveryRun) -> EarlierStep:
    """A finetuning behind it."""
    return EarlierStep(
        kind="finetuning",
        model=run.model.source,
        revision=run.model.revision,
        weights_before=run.model.weights,
        weights=run.weights,
        command=run.command,
    )


def _fits(origin: pa.Table, structure: ModelStructure) -> bool:
    """Whether the map has a row for every group that the model has, and no other."""
    wanted = [
        group_key(layer, GROUP_TYPES.index(kind), np.arange(half.groups))
        for layer, kind, half in structure.halves()
    ]
    return np.array_equal(np.sort(group_keys(origin)), np.concatenate(wanted))
