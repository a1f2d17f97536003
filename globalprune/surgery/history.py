"""Earlier cuts of a model, and for every group its index in the first model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis_record
from globalprune.artifacts.command import Command
from globalprune.artifacts.own_files import ORIGIN_FILE
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.results.finetuning import (
    FINETUNE_FILE,
    FinetuneRun,
    read_finetune_record,
)
from globalprune.artifacts.results.metrics import (
    METRICS_FILE,
    ApplyMetrics,
    EarlierStep,
    FirstModel,
    read_metrics,
)
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import TableInvalid
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.output_folder import records_folder

FORMAT = "globalprune.origin/1"
_ORIGINS = ("origin_layer_idx", "origin_group_idx")
_TYPES = {
    "layer_idx": pa.int32(),
    "group_type": pa.string(),
    "group_idx": pa.int32(),
    "origin_layer_idx": pa.int32(),
    "origin_group_idx": pa.int32(),
}


def origin_table(effect: PlanEffect, *, structure: str, weights: str) -> pa.Table:
    """Build the map; the metadata names the fingerprints of the model that was cut."""
    columns: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int32]]]] = {
        "layer_idx": [],
        "group_type": [],
        "group_idx": [],
        "origin_layer_idx": [],
        "origin_group_idx": [],
    }
    for new, layer in enumerate(effect.kept_layers):
        for code, group_type in enumerate(GROUP_TYPES):
            kept = layer.of(group_type)
            count = len(kept)
            columns["layer_idx"].append(np.full(count, new, np.int32))
            columns["group_type"].append(np.full(count, code, np.int32))
            columns["group_idx"].append(np.arange(count, dtype=np.int32))
            columns["origin_layer_idx"].append(np.full(count, layer.layer_idx, np.int32))
            columns["origin_group_idx"].append(kept.to_array().astype(np.int32))
    arrays = {name: pa.array(np.concatenate(parts)) for name, parts in columns.items()}
    arrays["group_type"] = pa.DictionaryArray.from_arrays(
        arrays["group_type"], pa.array(list(GROUP_TYPES))
    )
    table = pa.table(arrays)
    return table.replace_schema_metadata(
        {"format": FORMAT, "structure": structure, "weights": weights}
    )


def compose(table: pa.Table, before: pa.Table) -> pa.Table:
    """The map of a cut behind that of the cuts before it: from the result to the first model."""
    known = group_keys(before)
    order = np.argsort(known)
    rows = order[np.searchsorted(known, group_keys(table, "origin_"), sorter=order)]
    for name in _ORIGINS:
        values = pa.array(before[name].to_numpy()[rows], pa.int32())
        table = table.set_column(table.column_names.index(name), name, values)
    return table.replace_schema_metadata(before.schema.metadata)


def group_keys(table: pa.Table, prefix: str = "") -> NDArray[np.int64]:
    """A number for the group of every row, by its layer, kind and index."""
    kinds = pc.equal(pc.cast(table["group_type"], pa.string()), GROUP_TYPES[1]).to_numpy()
    layers = table[f"{prefix}layer_idx"].to_numpy().astype(np.int64)
    keys: NDArray[np.int64] = group_key(
        layers, kinds, table[f"{prefix}group_idx"].to_numpy().astype(np.int64)
    )
    return keys


def group_key(layer: Any, code: Any, index: Any) -> Any:
    """The same for single groups; `code` is the place of their kind in GROUP_TYPES."""
    return (layer * len(GROUP_TYPES) + code) * 2**32 + index


def read_origin(path: Path) -> pa.Table:
    """Read a map; raise `TableInvalid` for a file that is none."""
    again = "apply the plan again, or remove the file, and with it what is known of earlier cuts."
    try:
        table = pq.ParquetFile(path).read()
        fields = [(name, _TYPES[name]) for name in table.column_names]
        table = table.cast(pa.schema(fields, table.schema.metadata))
        whole = table.column_names == list(_TYPES) and not any(c.null_count for c in table.columns)
        known = set(table["group_type"].unique().to_pylist()) <= set(GROUP_TYPES)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise TableInvalid(f"{path}: is no map of groups ({reason}); {again}") from error
    found = (table.schema.metadata or {}).get(b"format", b"none").decode(errors="replace")
    if found != FORMAT or not whole or not known:
        raise TableInvalid(f"{path}: is of format {found} or lacks values, not {FORMAT}; {again}")
    return table


def write_origin(path: Path, table: pa.Table) -> None:
    """Write the map."""
    pq.write_table(table, path, compression="zstd")


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
    folder = records_folder(checkpoint.source)
    cut = read_metrics(folder / METRICS_FILE) if (folder / METRICS_FILE).is_file() else None
    recovery = folder / FINETUNE_FILE
    runs = read_finetune_record(recovery).runs if recovery.is_file() else ()
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


def _first(cut: ApplyMetrics | None, runs: tuple[FinetuneRun, ...], parameters: int) -> FirstModel:
    """The model that was there before gp changed anything."""
    if cut is not None:
        return cut.original_model
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


def _finetuning(run: FinetuneRun) -> EarlierStep:
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
        group_key(layer, GROUP_TYPES.index(kind), np.arange(sublayer.groups))
        for layer, kind, sublayer in structure.sublayers()
    ]
    return np.array_equal(np.sort(group_keys(origin)), np.concatenate(wanted))
