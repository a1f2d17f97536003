"""The files of an analysis: record with its warnings, table, curves, description and log."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from globalprune.analysis.measure import Measured, build_table, curves_of, reliabilities
from globalprune.analysis.request import Subject
from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    AnalysisRecord,
    GivenPlan,
    ModelRecord,
    write_analysis_record,
)
from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, GroupTable
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE, write_group_table
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE, write_curves
from globalprune.artifacts.analyses.normalisers import NormaliserName, scored_by
from globalprune.artifacts.analyses.reliability import Trial, agreement, broken_promise, trial_text
from globalprune.artifacts.formatting import (
    describe_model,
    describe_text,
    describe_versions,
    format_bytes,
)
from globalprune.artifacts.own_files import ANALYSIS_FILES, ANALYZE_LOG, DESCRIPTION_FILE
from globalprune.artifacts.plans.budgets import further_costs
from globalprune.artifacts.records import format_command, tool_versions
from globalprune.artifacts.staging import updated_folder
from globalprune.artifacts.structure import unprunable_reason
from globalprune.importance import Importance
from globalprune.models.checkpoints.gguf_header import quantisation_warnings
from globalprune.printable import printable, printable_lines
from globalprune.text.windows import TokenWindows


def describe(record: AnalysisRecord, loss: float | None) -> str:
    """Write the record as lines of `what: value`; `loss` is the model's on the text."""
    model, first, end = record.model, *record.layers
    lines = {
        "model": f"{describe_model(model.source, model.revision)} ({model.model_type})",
        "parameters": f"{model.parameters:,}, of which {model.prunable_parameters:,} in groups",
        "layers": f"{first}:{end} of {len(record.structure.layers)}",
        "measured": f"{record.removable:,} parameters, the most that a plan can remove",
        "text": describe_text(record.calibration),
        "importance": f"{_importance(record)} (measured: {', '.join(record.methods)})",
        "labels": _labels(record),
        "loss on the text": "not needed" if loss is None else f"{loss:.4f} nats a token",
        **{f"halves on {name}": agreement(found) for name, found in record.reliability.items()},
        "trial": trial_text(record.trial),
        "precision": record.dtype,
        "batch size": str(record.batch_size),
        "time": f"{record.seconds:.1f} s",
        "peak memory": format_bytes(record.peak_memory_bytes),
        "tools": describe_versions(record.versions),
        "structure": model.structure_fingerprint,
        "weights": model.weights_fingerprint,
        "table": record.table,
        "command": format_command(record.command) or "-",
    }
    width = max(map(len, lines)) + 2
    text = [f"{name + ':':<{width}}{value}" for name, value in lines.items()]
    text = [*filter(None, [record.doubt]), *text]
    return "\n".join([*text, *(f"warning: {warning}" for warning in record.warnings)]) + "\n"


def _importance(record: AnalysisRecord) -> str:
    """What the table is scored by."""
    name = record.default_importance
    return scored_by(name, record.normaliser_of(name))


def _labels(record: AnalysisRecord) -> str:
    """Whose next tokens the gradients are of."""
    if record.labels == "text":
        return "the text's own next tokens"
    return f"drawn from the model, seed {record.label_seed}"


def warnings_of(
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    normaliser: NormaliserName,
    labels: str,
    dtype: str,
) -> Iterator[str]:
    """Yield a sentence or two about whatever makes the analysis less sure."""
    yield from quantisation_warnings(subject.source)
    if not methods[0].in_nats and normaliser == "none":
        yield (
            f"{methods[0].name} is not comparable between layers: one ranking over all of them "
            "destroys a model; plan with a normaliser or another importance, or measure few "
            "layers (--layers)."
        )
    first_order = [method.name for method in methods if "first_order" in method.needs]
    if labels == "sampled" and first_order:
        yield (
            f"{' and '.join(first_order)} with --labels sampled: the mean gradient of labels that "
            "the model draws itself tends to zero, so its first order is noise; use fisher, or "
            "--labels text."
        )
    judging = [method.name for method in methods if "measured_removal_loss" in method.needs]
    if judging and dtype != "float32":
        yield (
            f"{judging[0]} in {dtype}: what a trial measures is blurred by rounding, the more the "
            "less it removes; measure with --dtype float32 where that fits."
        )
    if len(windows.rows) == 1:
        yield (
            "one window can't be halved, so nothing tells how sure its importances are; measure "
            "with more --samples."
        )
    for kind, sublayer in subject.structure.fixed.items():
        yield f"{unprunable_reason(kind, sublayer)}; only the other groups are measured."
    longest = max(len(row) for row in windows.rows)
    positions = subject.figures.get("max_position_embeddings")
    if positions is not None and longest > positions:
        yield (
            f"windows of {longest} tokens are longer than the {positions} positions that the "
            "model was trained for; say a smaller --seq-len."
        )


class RunLog:
    """Lines with the seconds since the start; they are written once the run has ended well."""

    def __init__(self, command: Sequence[str]) -> None:
        self._started = time.monotonic()
        self._lines = [
            f"{datetime.now(UTC).isoformat(timespec='seconds')}  {format_command(command)}"
        ]

    @property
    def seconds(self) -> float:
        """The seconds since the start."""
        return time.monotonic() - self._started

    def say(self, line: str) -> None:
        """Add one line."""
        self._lines.append(f"{self.seconds:8.1f} s  {printable_lines(line)}")

    def say_record(self, record: AnalysisRecord) -> None:
        """Add the whole record, except the structure and the documents' digests, which are long."""
        self._say_facts("measured", record.model_dump(exclude={"structure", "calibration"}))
        self._say_facts("text", record.calibration.model_dump(exclude={"document_digests"}))

    def _say_facts(self, title: str, facts: Mapping[str, Any]) -> None:
        """Add a block of facts, one on each line; nested ones are named by their path."""
        self.say(title)
        self._lines += [f"{'':12}{name}: {printable(str(value))}" for name, value in _flat(facts)]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add how long the block took."""
        started = time.monotonic()
        yield
        self.say(f"{name}: {time.monotonic() - started:.1f} s")

    def text(self) -> str:
        """The whole log."""
        return "\n".join(self._lines) + "\n"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested facts by names such as `model.source`, and lists as text."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif name == "command":
            yield prefix + name, format_command(value) or "none"
        elif isinstance(value, tuple | list):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        else:
            yield prefix + name, value


def layer_summary(table: GroupTable) -> str:
    """Return one line per sublayer: groups, spread of scores, share of the importance."""
    columns = ("lowest", "median", "highest")
    lines = [
        "layer  kind       groups" + "".join(f"  {name:>10}" for name in columns) + "    share"
    ]
    total = float(table.importance.sum()) or 1.0
    for (layer, kind), rows in table.sublayers.items():
        scores = table.score[rows]
        share = float(table.importance[rows].sum()) / total
        lines.append(
            f"{layer:>5}  {kind:<9}  {len(scores):>6}  {scores.min():>10.3e}  "
            f"{np.median(scores):>10.3e}  {scores.max():>10.3e}  {share:>7.2%}"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class AnalysisFacts:
    """What the record of an analysis says of the run, beside its results."""

    model: ModelRecord
    given: GivenPlan | None
    normalisers: Mapping[str, NormaliserName]  # of the importances that have one
    labels: str
    label_seed: int | None
    batch_size: int
    dtype: str
    command: tuple[str, ...]
    peak_memory_bytes: int

    def normaliser_of(self, method: Importance) -> NormaliserName:
        """Return the normaliser of an importance."""
        return self.normalisers.get(method.name, "none")


def write_analysis(
    out: Path,
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    measured: Measured,
    log: RunLog,
    facts: AnalysisFacts,
    try_plan: Callable[[Analysis], Trial | None],
) -> AnalysisRecord:
    """Write table, curves, record, description and log, all or none; return the record.

    `try_plan` masks a first plan of the analysis, once its table is made.
    """
    structure, sums = subject.structure, measured.collected.sums
    normaliser = facts.normaliser_of(methods[0])
    table = build_table(structure, subject.layers, methods, sums, normaliser)
    record = _untried_record(subject, windows, methods, measured, facts, table)
    identity = record.identity
    table = replace(table, metadata={ANALYSIS_KEY: identity, **table.metadata})
    with updated_folder(out, ANALYSIS_FILES) as folder:
        costs = further_costs(structure, table.layer_idx, table.group_type)
        write_group_table(folder / TABLE_FILE, table, structure, costs)
        if measured.ordered is not None:
            curves = curves_of(measured.ordered, structure)
            write_curves(folder / CURVES_FILE, curves, identity=identity)
        with log.phase("try what the first plan removes"):
            trial = try_plan(Analysis(out, record, table))
        record = _tried_record(record, trial, log.seconds)
        log.say_record(record)
        log.say(f"scores by layer\n{layer_summary(table)}")
        description = describe(record, measured.collected.loss)
        (folder / DESCRIPTION_FILE).write_text(description, "utf-8")
        (folder / ANALYZE_LOG).write_text(log.text(), "utf-8")
        write_analysis_record(folder / ANALYSIS_FILE, record)
    return record


def _untried_record(
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    measured: Measured,
    facts: AnalysisFacts,
    table: GroupTable,
) -> AnalysisRecord:
    """Return the record without trial and time."""
    structure, layers, normalisers = subject.structure, subject.layers, facts.normalisers
    normaliser = facts.normaliser_of(methods[0])
    return AnalysisRecord(
        structure=structure,
        layers=(layers.start, layers.stop),
        calibration=windows.record,
        methods=tuple(method.name for method in methods),
        default_importance=methods[0].name,
        compensated=tuple(method.name for method in methods if method.counts_on_compensation),
        incomparable=tuple(method.name for method in methods if not method.in_nats),
        reliability=reliabilities(
            structure, layers, methods, measured.collected.halves, normalisers
        ),
        table=table.digest,
        versions=tool_versions(),
        seconds=0.0,
        warnings=tuple(
            warnings_of(subject, windows, methods, normaliser, facts.labels, facts.dtype)
        ),
        **{one.name: getattr(facts, one.name) for one in fields(facts)},
    )


def _tried_record(record: AnalysisRecord, trial: Trial | None, seconds: float) -> AnalysisRecord:
    """Return the record with what the trial showed, and the time that all took."""
    return record.model_copy(
        update={
            "trial": trial,
            "seconds": round(seconds, 3),
            "warnings": (*record.warnings, *filter(None, [broken_promise(trial)])),
        }
    )
