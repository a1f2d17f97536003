"""OUT/globalprune/: the records that a cut writes, and those of earlier steps that it goes on from.

The plan, the analysis, the figures of the cut and a log say what was done; the origin map leads
from every group to the groups of the first model.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis_record
from globalprune.artifacts.own_files import APPLY_LOG, DESCRIPTION_FILE, ORIGIN_FILE, schema_texts
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_file import PLAN_FILE, PLAN_SCHEMA_FILE
from globalprune.artifacts.records import RECORDS_FOLDER, Command, format_command, write_record
from globalprune.artifacts.results.cut import (
    COMPENSATION_FILE,
    METRICS_FILE,
    ApplyMetrics,
    CompensationRecord,
    EarlierStep,
    FirstModel,
    read_metrics,
)
from globalprune.artifacts.results.finetuning import (
    FINETUNE_FILE,
    FinetuneRun,
    read_finetune_record,
)
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import TableInvalid
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.output_folder import records_folder
from globalprune.printable import printable, printable_message

FORMAT: Final = "globalprune.origin/1"
_TYPES: Final = {
    "layer_idx": pa.int32(),
    "group_type": pa.string(),
    "group_idx": pa.int32(),
    "origin_layer_idx": pa.int32(),
    "origin_group_idx": pa.int32(),
}
_ORIGINS: Final = ("origin_layer_idx", "origin_group_idx")


@dataclass(frozen=True)
class History:
    """What gp did to a model before; a model that gp never changed has an empty one."""

    first: FirstModel | None = None
    steps: tuple[EarlierStep, ...] = ()
    origin: pa.Table | None = None  # the model's own map to the first model's groups
    warnings: tuple[str, ...] = ()

    def map_to_first(self, table: pa.Table) -> pa.Table:
        """Continue a cut's map, from the groups of the model that is cut, to the first model's."""
        return table if self.origin is None else compose_maps(table, self.origin)


def write_records(
    out: Path,
    metrics: ApplyMetrics,
    *,
    plan: bytes,
    origin: pa.Table,
    analysis: Path | None,
    compensation: CompensationRecord | None,
    lines: Sequence[str],
) -> None:
    """Write every record of a cut into a model's folder.

    `plan` is the text of its file, `analysis` a file, `origin` the map to the first model's groups;
    `lines` explain the cut in its log.
    """
    folder = out / RECORDS_FOLDER
    folder.mkdir()
    (folder / PLAN_FILE).write_bytes(plan)
    schema = schema_texts()[PLAN_SCHEMA_FILE]  # the plan's first line names it
    (folder / PLAN_SCHEMA_FILE).write_text(schema, encoding="utf-8")
    write_origin_map(folder / ORIGIN_FILE, origin)
    if analysis is not None:
        shutil.copyfile(analysis, folder / ANALYSIS_FILE)
    if compensation is not None:
        write_record(folder / COMPENSATION_FILE, compensation)
    write_record(folder / METRICS_FILE, metrics)
    warnings = [f"warning: {warning}" for warning in metrics.warnings]
    log = [format_command(metrics.command), *lines, *warnings, f"done in {metrics.seconds:.1f} s"]
    (folder / APPLY_LOG).write_text(
        "\n".join(map(printable_message, filter(None, log))) + "\n", encoding="utf-8"
    )
    (folder / DESCRIPTION_FILE).write_text(_description(metrics), encoding="utf-8")


def read_history(checkpoint: Checkpoint, structure: ModelStructure, weights: str) -> History:
    """Read the records in the model's folder; `weights` is the model's fingerprint.

    Raise `RecordInvalid` or `TableInvalid` for a damaged record.
    """
    folder = records_folder(checkpoint.source)
    metrics, finetuning = folder / METRICS_FILE, folder / FINETUNE_FILE
    cut = read_metrics(metrics) if metrics.is_file() else None
    runs = read_finetune_record(finetuning).runs if finetuning.is_file() else ()
    if cut is None and not runs:
        return History()
    steps = [*(cut.earlier if cut else ()), *([_cut_step(folder, cut)] if cut else ())]
    steps += map(_finetune_step, runs)
    path, warnings = folder / ORIGIN_FILE, []
    origin = read_origin_map(path) if cut is not None and path.is_file() else None
    if origin is not None and not _fits(origin, structure):
        warnings.append(
            f"{checkpoint.source.name}: its {ORIGIN_FILE} counts other groups than it has; the new "
            "one leads to this model, not to the first."
        )
        origin = None
    if steps[-1].weights not in (None, weights):
        warnings.append(
            f"{checkpoint.source.name}: its records are of other weights, so another tool changed "
            "it since; that step is not in its history."
        )
    first = _first_model(cut, runs, checkpoint.parameters)
    return History(first, tuple(steps), origin, tuple(warnings))


def origin_map(effect: PlanEffect, *, structure: str, weights: str) -> pa.Table:
    """Map every group of a result to its group in the model that is cut.

    `structure` and `weights` are that model's fingerprints; they stand in the metadata.
    """
    columns: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int32]]]] = {
        name: [] for name in _TYPES
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
    return pa.table(arrays).replace_schema_metadata(
        {"format": FORMAT, "structure": structure, "weights": weights}
    )


def compose_maps(table: pa.Table, before: pa.Table) -> pa.Table:
    """Compose a cut's map with the map `before` it: from the result to the first model."""
    known = _group_keys(before)
    order = np.argsort(known)
    rows = order[np.searchsorted(known, _group_keys(table, "origin_"), sorter=order)]
    for name in _ORIGINS:
        values = pa.array(before[name].to_numpy()[rows], pa.int32())
        table = table.set_column(table.column_names.index(name), name, values)
    return table.replace_schema_metadata(before.schema.metadata)


def read_origin_map(path: Path) -> pa.Table:
    """Read a map; raise `TableInvalid` for a file that is not one."""
    advice = "apply the plan again, or remove the file, and with it what is known of earlier cuts."
    try:
        table = pq.ParquetFile(path).read()
        fields = [(name, _TYPES[name]) for name in table.column_names]
        table = table.cast(pa.schema(fields, table.schema.metadata))
        whole = table.column_names == list(_TYPES) and not any(c.null_count for c in table.columns)
        known = set(table["group_type"].unique().to_pylist()) <= set(GROUP_TYPES)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise TableInvalid(f"{path}: is no map of groups ({reason}); {advice}") from error
    found = (table.schema.metadata or {}).get(b"format", b"none").decode(errors="replace")
    if found != FORMAT or not whole or not known:
        raise TableInvalid(f"{path}: is of format {found} or lacks values, not {FORMAT}; {advice}")
    return table


def write_origin_map(path: Path, table: pa.Table) -> None:
    """Write a map."""
    pq.write_table(table, path, compression="zstd")


def _first_model(
    cut: ApplyMetrics | None, runs: tuple[FinetuneRun, ...], parameters: int
) -> FirstModel:
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


def _cut_step(folder: Path, cut: ApplyMetrics) -> EarlierStep:
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


def _finetune_step(run: FinetuneRun) -> EarlierStep:
    """A finetuning after the cut."""
    return EarlierStep(
        kind="finetuning",
        model=run.model.source,
        revision=run.model.revision,
        weights_before=run.model.weights,
        weights=run.weights,
        command=run.command,
    )


def _fits(origin: pa.Table, structure: ModelStructure) -> bool:
    """Whether the map has a row for every group of the model, and no other row."""
    keys = [
        _group_key(layer, GROUP_TYPES.index(kind), np.arange(sublayer.groups))
        for layer, kind, sublayer in structure.sublayers()
    ]
    return np.array_equal(np.sort(_group_keys(origin)), np.concatenate(keys))


def _group_keys(table: pa.Table, prefix: str = "") -> NDArray[np.int64]:
    """One number per row that stands for the group's layer, kind and index."""
    kinds = pc.equal(pc.cast(table["group_type"], pa.string()), GROUP_TYPES[1]).to_numpy()
    layers = table[f"{prefix}layer_idx"].to_numpy().astype(np.int64)
    keys: NDArray[np.int64] = _group_key(
        layers, kinds, table[f"{prefix}group_idx"].to_numpy().astype(np.int64)
    )
    return keys


def _group_key(layer: Any, code: Any, index: Any) -> Any:
    """The number that stands for a group; `code` is the position of its kind in GROUP_TYPES."""
    return (layer * len(GROUP_TYPES) + code) * 2**32 + index


def _weights(metrics: ApplyMetrics) -> str:
    """The bytes of the weight files, and the dtype that they were converted to."""
    as_dtype = f", converted to {metrics.save_dtype}" if metrics.save_dtype else ""
    return f"{metrics.bytes_before:,} -> {metrics.bytes_after:,} bytes{as_dtype}"


def _description(metrics: ApplyMetrics) -> str:
    """The configuration of the run, for a person who finds the folder later."""
    removed = ", ".join(f"{count:,} {kind}" for kind, count in metrics.removed_groups.items())
    rows = {
        "model": metrics.model.source,
        "revision": metrics.model.revision or "-",
        "weights": metrics.model.weights,
        "structure": metrics.model.structure,
        "plan": metrics.plan,
        "parameters": f"{metrics.parameters_before:,} -> {metrics.parameters_after:,}",
        "files of weights": _weights(metrics),
        "removed groups": removed,
        "dropped layers": ", ".join(map(str, metrics.dropped_layers)) or "-",
        "form": "uneven layers, see README.md" if metrics.uneven else "native",
        "tools": ", ".join(f"{name} {version}" for name, version in metrics.versions.items()),
        "command": format_command(metrics.command) or "-",
    }
    width = max(map(len, rows))
    return "".join(f"{key:<{width}}  {printable(value)}\n" for key, value in rows.items())
