"""OUT/globalprune/: the plan, the origin map, the records of analysis and cut, and a log."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE
from globalprune.artifacts.own_files import (
    APPLY_LOG,
    DESCRIPTION_FILE,
    ORIGIN_FILE,
    schema_texts,
)
from globalprune.artifacts.plans.plan_file import PLAN_FILE, PLAN_SCHEMA_FILE
from globalprune.artifacts.records import RECORDS_FOLDER, format_command, write_record
from globalprune.artifacts.results.cut import (
    COMPENSATION_FILE,
    METRICS_FILE,
    ApplyMetrics,
    CompensationRecord,
)
from globalprune.printable import printable, printable_message
from globalprune.surgery.history import origin_map, write_origin_map
from globalprune.surgery.prepare import PreparedCut


def write_records(
    out: Path,
    prepared: PreparedCut,
    metrics: ApplyMetrics,
    *,
    compensation: CompensationRecord | None,
    lines: Sequence[str],
) -> None:
    """Write every record of a cut into a model's folder; `lines` explain the cut in its log."""
    folder = out / RECORDS_FOLDER
    folder.mkdir()
    (folder / PLAN_FILE).write_bytes(prepared.file.content)
    schema = schema_texts()[PLAN_SCHEMA_FILE]  # the plan's first line names it
    (folder / PLAN_SCHEMA_FILE).write_text(schema, encoding="utf-8")
    table = origin_map(
        prepared.effect, structure=prepared.structure.fingerprint, weights=prepared.weights
    )
    write_origin_map(folder / ORIGIN_FILE, prepared.history.map_to_first(table))
    if prepared.analysis is not None:
        shutil.copyfile(prepared.analysis, folder / ANALYSIS_FILE)
    if compensation is not None:
        write_record(folder / COMPENSATION_FILE, compensation)
    write_record(folder / METRICS_FILE, metrics)
    warnings = [f"warning: {warning}" for warning in metrics.warnings]
    log = [format_command(metrics.command), *lines, *warnings, f"done in {metrics.seconds:.1f} s"]
    (folder / APPLY_LOG).write_text(
        "\n".join(map(printable_message, filter(None, log))) + "\n", encoding="utf-8"
    )
    (folder / DESCRIPTION_FILE).write_text(_description(metrics), encoding="utf-8")


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
