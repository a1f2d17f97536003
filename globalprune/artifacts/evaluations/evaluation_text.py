"""A comparison in words and figures: the cells of its table, and what stands under it."""

from globalprune.artifacts.evaluations.evaluation_record import (
    Comparison,
    SpeedSettings,
    TaskSettings,
)
from globalprune.artifacts.evaluations.evaluation_rows import BYTES, RATE, SECONDS, Cell, Row
from globalprune.artifacts.rounding import byte_unit, size, spelled_with_error

UNKNOWN = "not measured"
_WHOLE = 1000  # milliseconds in a second
_PERCENT = 100


def label(row: Row) -> str:
    """What a row is called, with its unit where the figures don't carry it."""
    return f"{row.metric}, {row.unit}" if row.unit == RATE else row.metric


def value_text(row: Row, cell: Cell) -> str:
    """A figure with its unit and its standard error."""
    if cell.value is None:
        return "infinite" if row.metric == "perplexity" else UNKNOWN
    if row.exact:
        return size(round(cell.value)) if row.unit == BYTES else f"{round(cell.value):,}"
    step, unit = _scale(row, cell.value)
    error = None if cell.error is None else cell.error / step
    return f"{spelled_with_error(cell.value / step, error)}{unit}"


def difference_text(row: Row, cell: Cell) -> str:
    """How far a figure is from the baseline's; nothing where that can't be said."""
    if cell.difference is None:
        return ""
    if row.exact:
        return f"{_PERCENT * cell.difference:+.1f} %"
    if cell.difference_error is None:  # of unknown noise: it might be nothing but noise
        return ""
    if row.relative:
        step, unit = 1 / _PERCENT, " %"
    else:
        step, unit = _scale(row, cell.value or 0)
    moved, error = cell.difference / step, cell.difference_error / step
    return f"{spelled_with_error(moved, error, signed=True)}{unit}"


def _scale(row: Row, value: float) -> tuple[float, str]:
    """What a row's figures are divided by to be read, and the unit that they then have."""
    if row.unit == BYTES:
        step, unit = byte_unit(value)
        return step, f" {unit}"
    if row.unit == SECONDS:
        return 1 / _WHOLE, " ms"
    return 1, ""


def stamp_lines(comparison: Comparison) -> list[str]:
    """What the figures were measured with: without it none can be compared with another run's."""
    settings = comparison.settings
    lines = [_text_line(comparison), _machine_line(comparison)]
    if settings.tasks is not None:
        lines.append(_tasks_line(settings.tasks, comparison))
    if settings.speed is not None:
        lines.append(_speed_line(settings.speed))
    if any(model.perplexity.standard_error is None for model in comparison.models):
        lines.append(
            "one window tells no error of perplexity, so no difference is shown: take more"
        )
    lines.append("± is the standard error; under a figure stands the difference to the first model")
    return lines


def _text_line(comparison: Comparison) -> str:
    """The text that perplexity is of."""
    text = comparison.text
    length = "ragged lengths" if text.seq_len is None else f"{text.seq_len} tokens"
    stride = "" if text.stride is None else f", stride {text.stride}"
    bos = ", BOS first" if text.bos else ""
    return (
        f"text {text.source}: {text.samples} windows of {length}{stride}{bos}, "
        f"{text.predicted_tokens:,} predicted tokens"
    )


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
    """How the tasks were asked."""
    version = comparison.versions.get("lm_eval", "")
    limit = "all documents" if tasks.limit is None else f"the first {tasks.limit} documents of each"
    shots = "as each task says" if tasks.fewshot is None else str(tasks.fewshot)
    template = ", with the chat template" if tasks.apply_chat_template else ""
    return f"tasks by lm-eval {version}: {limit}, examples in the prompt: {shots}{template}"


def _speed_line(speed: SpeedSettings) -> str:
    """How speed was measured."""
    order = "models in turn" if speed.interleaved else "one model after the other"
    return (
        f"speed: {speed.prompt_tokens} tokens of prompt, then {speed.decoded_tokens} one by one, "
        f"batch size 1; median of {speed.rounds} rounds after a warm-up, {order}"
    )
