"""An evaluation as a table: a row per figure, a cell per model, differences to the first.

The terminal, CSV and Markdown all draw these rows. An evaluation's folder holds evaluation.json for
programs, a CSV with a row for every model and figure, in full precision and base units, and the
table in Markdown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

from globalprune.artifacts.evaluations.evaluation import (
    Comparison,
    ModelResult,
    SpeedSettings,
    TaskSettings,
    median_of_rounds,
    metric_difference,
    perplexity_difference,
    ratio_of_rounds,
)
from globalprune.artifacts.formatting import (
    byte_unit,
    csv_text,
    describe_text,
    describe_versions,
    escape_markdown,
    format_bytes,
    format_with_error,
    markdown_code,
    markdown_table,
)
from globalprune.artifacts.records import format_command, read_record, write_record
from globalprune.artifacts.staging import updated_folder

MEMORY_NOISE: Final = 2e7  # bytes, by which repeated measurements of one model differed
BYTES_UNIT: Final = "bytes"
SECONDS_UNIT: Final = "s"
RATE_UNIT: Final = "tokens/s"
COUNTS: Final = {
    "parameters": ("", "parameters"),
    "file": (BYTES_UNIT, "file_bytes"),
    "KV cache per token": (BYTES_UNIT, "kv_cache_bytes_per_token"),
}
SPEEDS: Final = {
    "prefill": (RATE_UNIT, "prefill_tokens_per_second"),
    "decode": (RATE_UNIT, "decode_tokens_per_second"),
    "time to first token": (SECONDS_UNIT, "time_to_first_token_seconds"),
}
NOT_MEASURED = "not measured"
_WHOLE = 1000  # milliseconds in a second
_PERCENT = 100
EVALUATION_FILE = "evaluation.json"
EVALUATION_CSV = "evaluation.csv"
EVALUATION_MARKDOWN = "evaluation.md"
_COLUMNS = (
    "model",
    "metric",
    "unit",
    "value",
    "standard_error",
    "difference",
    "difference_standard_error",
    "difference_is",
)


@dataclass(frozen=True)
class FigureCell:
    """One model's figure and its difference to the baseline's; None is unknown or impossible."""

    value: float | None = None
    error: float | None = None
    difference: float | None = None
    difference_error: float | None = None
    paired: bool = False  # whether the difference's error is that of pairs, or of both errors


@dataclass(frozen=True)
class FigureRow:
    """One figure of every model, the baseline's first."""

    metric: str
    unit: str
    cells: tuple[FigureCell, ...]
    exact: bool = False  # a count: neither it nor its difference has an error
    relative: bool = False  # differences are fractions of the baseline's figure
    detail: bool = False  # of a task whose group has a row of its own


_CellOf = Callable[
    [ModelResult, ModelResult | None], FigureCell
]  # beside the baseline; None: it is it


def figure_rows(comparison: Comparison) -> tuple[FigureRow, ...]:
    """Return the rows of all figures that some model has: sizes, perplexity, tasks, speed."""
    models = comparison.models
    counts = [
        FigureRow(metric, unit, _cells(models, _count_of(field)), exact=True, relative=True)
        for metric, (unit, field) in COUNTS.items()
    ]
    return (
        *counts,
        FigureRow("peak memory", BYTES_UNIT, _cells(models, _memory)),
        FigureRow("perplexity", "", _cells(models, _perplexity)),
        *_task_rows(models),
        *_speed_rows(comparison),
    )


def row_label(row: FigureRow) -> str:
    """Return the name of a row, with its unit where the figures don't carry it."""
    return f"{row.metric}, {row.unit}" if row.unit == RATE_UNIT else row.metric


def value_text(row: FigureRow, cell: FigureCell) -> str:
    """Return a figure with its unit and its standard error."""
    if cell.value is None:
        return "infinite" if row.metric == "perplexity" else NOT_MEASURED
    if row.exact:
        return (
            format_bytes(round(cell.value)) if row.unit == BYTES_UNIT else f"{round(cell.value):,}"
        )
    step, unit = _scale(row, cell.value)
    error = None if cell.error is None else cell.error / step
    return f"{format_with_error(cell.value / step, error)}{unit}"


def difference_text(row: FigureRow, cell: FigureCell) -> str:
    """Return the difference of a figure to the baseline's; empty where it is not known."""
    if cell.difference is None:
        return ""
    if row.exact:
        return f"{_PERCENT * cell.difference:+.1f} %"
    if cell.difference_error is None:  # it might be noise
        return ""
    if row.relative:
        step, unit = 1 / _PERCENT, " %"
    else:
        step, unit = _scale(row, cell.value or 0)
    moved, error = cell.difference / step, cell.difference_error / step
    return f"{format_with_error(moved, error, signed=True)}{unit}"


def settings_lines(comparison: Comparison) -> list[str]:
    """Return how the figures were measured; without these lines no two runs can be compared."""
    settings = comparison.settings
    lines = [f"text: {describe_text(comparison.text)}", _machine_line(comparison)]
    if settings.tasks is not None:
        lines.append(_tasks_line(settings.tasks, comparison))
    if settings.speed is not None:
        lines.append(_speed_line(settings.speed))
    if any(model.perplexity.standard_error is None for model in comparison.models):
        lines.append(
            "one window tells no error of perplexity, so no difference is shown: take more"
        )
    lines.append("± is the standard error; under a figure stands the difference to the first model")
    if settings.speed is not None:
        lines.append("differences of rates are medians of rounds in which both models ran in turn")
    return lines


def write_evaluation(folder: Path, comparison: Comparison) -> None:
    """Write the three files, all or none of them."""
    with updated_folder(folder, (EVALUATION_FILE, EVALUATION_CSV, EVALUATION_MARKDOWN)) as new:
        (new / EVALUATION_CSV).write_bytes(evaluation_csv(comparison).encode())
        (new / EVALUATION_MARKDOWN).write_bytes(evaluation_markdown(comparison).encode())
        write_record(new / EVALUATION_FILE, comparison)


def read_evaluation(path: Path) -> Comparison:
    """Read evaluation.json; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(path, Comparison, what="an evaluation", command="gp eval")


def evaluation_csv(comparison: Comparison) -> str:
    """Return the figures as CSV, one row for every model and figure."""
    return csv_text(
        _COLUMNS,
        (
            (model.source, row.metric, row.unit, cell.value, cell.error, *_difference(row, cell))
            for row in figure_rows(comparison)
            for model, cell in zip(comparison.models, row.cells, strict=True)
        ),
    )


def evaluation_markdown(comparison: Comparison) -> str:
    """Return the table as Markdown, and under it how it was measured, and the warnings."""
    head = ["", *(escape_markdown(model.source) for model in comparison.models)]
    rows = (_markdown_cells(row) for row in figure_rows(comparison) if not row.detail)
    lines = [*markdown_table(head, rows), ""]
    lines += [f"- {escape_markdown(line)}" for line in settings_lines(comparison)]
    lines.append(f"- {escape_markdown(describe_versions(comparison.versions))}")
    if comparison.command:
        lines.append(f"- {markdown_code(format_command(comparison.command))}")
    lines += [f"- warning: {escape_markdown(text)}" for text in all_warnings(comparison)]
    return "\n".join(lines) + "\n"


def all_warnings(comparison: Comparison) -> list[str]:
    """Return all warnings, those of a model with its name."""
    own = [
        f"{model.source}: {warning}" for model in comparison.models for warning in model.warnings
    ]
    return [*own, *comparison.warnings]


def _cells(models: Sequence[ModelResult], cell: _CellOf) -> tuple[FigureCell, ...]:
    """Return the cells of all models, with differences to the first."""
    return (cell(models[0], None), *(cell(model, models[0]) for model in models[1:]))


def _count_of(field: str) -> _CellOf:
    """Return a function that makes the cells of an exact count."""
    read: Callable[[ModelResult | None], float | None] = attrgetter(field)

    def cell(model: ModelResult, first: ModelResult | None) -> FigureCell:
        count = read(model)
        base = read(first) if first else None
        return FigureCell(count, None, count / base - 1 if count is not None and base else None)

    return cell


def _memory(model: ModelResult, first: ModelResult | None) -> FigureCell:
    """Peak memory; its noise doesn't depend on its size, so differences are absolute."""
    peak = model.peak_memory_bytes
    if peak is None:
        return FigureCell()
    if first is None or first.peak_memory_bytes is None:
        return FigureCell(peak, MEMORY_NOISE)
    return FigureCell(peak, MEMORY_NOISE, peak - first.peak_memory_bytes, 2**0.5 * MEMORY_NOISE)


def _perplexity(model: ModelResult, first: ModelResult | None) -> FigureCell:
    """Perplexity, paired by window."""
    own = model.perplexity
    moved = perplexity_difference(own, first.perplexity) if first else None
    if moved is None:
        return FigureCell(own.value, own.standard_error)
    return FigureCell(own.value, own.standard_error, *moved, paired=True)


def _task_rows(models: Sequence[ModelResult]) -> list[FigureRow]:
    """Return a row for every metric of every task that some model has."""
    tasks = [(name, task) for model in models for name, task in model.tasks.items()]
    details = {name for name, task in tasks if task.part_of}
    metrics = dict.fromkeys((name, metric) for name, task in tasks for metric in task.metrics)
    return [
        FigureRow(
            f"{name} {metric}", "", _cells(models, _metric_of(name, metric)), detail=name in details
        )
        for name, metric in metrics
    ]


def _metric_of(name: str, metric: str) -> _CellOf:
    """A function that makes the cells of a task's metric, paired by document where possible."""

    def cell(model: ModelResult, first: ModelResult | None) -> FigureCell:
        task, base = model.tasks.get(name), first.tasks.get(name) if first else None
        new = task.metrics.get(metric) if task else None
        old = base.metrics.get(metric) if base else None
        if task is None or new is None:
            return FigureCell()
        if base is None or old is None:
            return FigureCell(new.value, new.standard_error)
        moved = metric_difference(
            new, old, same_documents=task.document_digest == base.document_digest
        )
        return FigureCell(new.value, new.standard_error, *(moved or ()))

    return cell


def _speed_rows(comparison: Comparison) -> list[FigureRow]:
    """Medians over rounds; differences by the rounds' own ratios where all models share them."""
    settings = comparison.settings.speed
    if settings is None:
        return []
    return [
        FigureRow(
            metric,
            unit,
            _cells(comparison.models, _speed_of(field, comparable=settings.interleaved)),
            relative=True,
        )
        for metric, (unit, field) in SPEEDS.items()
    ]


def _speed_of(field: str, *, comparable: bool) -> _CellOf:
    """Return a function that makes the cells of a speed."""
    read: Callable[[object], tuple[float, ...]] = attrgetter(field)

    def cell(model: ModelResult, first: ModelResult | None) -> FigureCell:
        if model.speed is None:
            return FigureCell()
        median = median_of_rounds(read(model.speed))
        if first is None or first.speed is None or not comparable:
            return FigureCell(*median)
        ratio, error = ratio_of_rounds(read(model.speed), read(first.speed))
        return FigureCell(*median, ratio - 1, error, paired=True)

    return cell


def _scale(row: FigureRow, value: float) -> tuple[float, str]:
    """Return the number that a row's figures are divided by for display, and their unit then."""
    if row.unit == BYTES_UNIT:
        step, unit = byte_unit(value)
        return step, f" {unit}"
    if row.unit == SECONDS_UNIT:
        return 1 / _WHOLE, " ms"
    return 1, ""


def _machine_line(comparison: Comparison) -> str:
    """Precision and machine."""
    dtypes = " and ".join(dict.fromkeys(result.dtype for result in comparison.models))
    hardware = comparison.hardware
    machine = hardware.gpu or f"{hardware.cpu}, {hardware.threads} threads"
    return (
        f"{dtypes} on {comparison.device} ({machine}), the KV cache too, batch size "
        f"{comparison.settings.batch_size}"
    )


def _tasks_line(tasks: TaskSettings, comparison: Comparison) -> str:
    """Return how the tasks were run."""
    version = comparison.versions.get("lm_eval", "")
    limit = "all documents" if tasks.limit is None else f"the first {tasks.limit} documents of each"
    shots = "as each task says" if tasks.fewshot is None else str(tasks.fewshot)
    template = ", with the chat template" if tasks.apply_chat_template else ""
    return f"tasks by lm-eval {version}: {limit}, examples in the prompt: {shots}{template}"


def _speed_line(speed: SpeedSettings) -> str:
    """Return how speed was measured."""
    order = "models in turn" if speed.interleaved else "one model after the other"
    return (
        f"speed: {speed.prompt_tokens} tokens of prompt, then {speed.decoded_tokens} one by one, "
        f"batch size 1; median of {speed.rounds} rounds after a warm-up, {order}"
    )


def _difference(row: FigureRow, cell: FigureCell) -> tuple[float | None, float | None, str | None]:
    """Return the difference to the baseline, its error, and how both are meant."""
    kind = "fraction" if row.relative else "absolute"
    meaning = f"{kind}, paired" if cell.paired else kind
    is_known = cell.difference is not None
    return cell.difference, cell.difference_error, meaning if is_known else None


def _markdown_cells(row: FigureRow) -> list[str]:
    """Return the cells of one row of the Markdown table."""
    cells = [escape_markdown(row_label(row))]
    for cell in row.cells:
        moved = difference_text(row, cell)
        cells.append(value_text(row, cell) + (f"<br>{moved}" if moved else ""))
    return cells
