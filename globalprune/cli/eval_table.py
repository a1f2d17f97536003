"""A comparison as a table for the terminal: one row a model, differences to the first in %."""

import io
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from globalprune.evaluate.comparison import Comparison
    from globalprune.evaluate.measurement import ModelResult

NARROWEST: Final = 100  # columns where there is no terminal to ask
UNKNOWN: Final = "not measured"
ENOUGH_CALLS: Final = 8  # the best of fewer is luck, so no difference is shown
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_STEP: Final = 1000


def render(comparison: "Comparison") -> str:
    """Draw the table, and under it what it was measured with."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for heading in ("parameters", "file", "perplexity", "tokens/s", "peak memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    baseline = comparison.models[0]
    for result in comparison.models:
        cells = _cells(result)
        if result is not baseline:
            differences = zip(cells, _figures(result), _figures(baseline), strict=True)
            cells = [f"{cell}\n{_difference(new, old)}" for cell, new, old in differences]
        table.add_row(result.source, *cells)
    drawn = io.StringIO()
    width = shutil.get_terminal_size((NARROWEST, 24)).columns
    Console(file=drawn, width=width, color_system=None, highlight=False, markup=False).print(table)
    lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
    return "\n".join([*lines, _stamp(comparison)]).strip("\n")


def _figures(result: "ModelResult") -> tuple[float | None, ...]:
    """The figures that differences are made of, in the order of the columns; None makes none."""
    enough = result.timed_calls >= ENOUGH_CALLS
    return (
        result.parameters,
        result.file_bytes,
        result.perplexity,
        result.tokens_per_second if enough else None,
        result.peak_memory_bytes,
    )


def _cells(result: "ModelResult") -> list[str]:
    """The figures as a person reads them."""
    memory = result.peak_memory_bytes
    return [
        f"{result.parameters:,}",
        size(result.file_bytes),
        f"{result.perplexity:,.2f}",
        f"{result.tokens_per_second:,.0f}",
        UNKNOWN if memory is None else size(memory),
    ]


def _difference(new: float | None, old: float | None) -> str:
    """How much a figure moved, in percent of the first model's."""
    return "" if new is None or not old else f"{100 * (new / old - 1):+.1f} %"


def size(count: int) -> str:
    """Bytes with three digits or so: `269.1 MB`."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{value:.0f} {unit}" if unit == _UNITS[0] else f"{value:.1f} {unit}"


def _stamp(comparison: "Comparison") -> str:
    """What the figures were measured with: without it none can be compared with another run's."""
    text = comparison.text
    length = "ragged" if text.seq_len is None else f"{text.seq_len} tokens"
    stride = "" if text.stride is None else f", stride {text.stride}"
    dtypes = " and ".join(dict.fromkeys(result.dtype for result in comparison.models))
    bos = ", BOS first" if text.bos else ""
    few = any(result.timed_calls < ENOUGH_CALLS for result in comparison.models)
    luck = (
        f"\n(of under {ENOUGH_CALLS} calls the best is luck, so no difference is shown)"
        if few
        else ""
    )
    return (
        f"text {text.source}: {text.samples} windows of {length}{stride}{bos}, "
        f"{text.predicted_tokens:,} predicted tokens\n"
        f"{dtypes} on {comparison.device}, batch size {comparison.batch_size}; perplexity weighted "
        "by token, tokens/s\nof prefill in the best call, peak memory: what loading and running "
        f"the model added{luck}"
    )
