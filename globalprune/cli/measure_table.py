"""Measured latencies as a table for the terminal: a row a point, the full model first."""

from typing import TYPE_CHECKING, Final

from globalprune.cli.table_text import lines_of

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.latency import MachineRecord, TimedPoint
    from globalprune.artifacts.structure import GroupType

_MILLISECONDS: Final = 1000
_PERCENT: Final = 100
_CALLED: "Final[dict[GroupType, str]]" = {"attention": "attention groups", "mlp": "mlp channels"}


def render(record: "MachineRecord") -> str:
    """Draw the table, and under it what it was measured with."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("every layer keeps")
    for name in ("ms a token", "rounds", "of the full model"):
        table.add_column(name, justify="right")
    table.add_row("all", *_figures(record.full, record))
    for kind, called in _CALLED.items():
        whole = record.full.kept(kind)
        for point in reversed(record.points_of(kind)[:-1]):
            table.add_row(f"{point.kept(kind):,} of {whole:,} {called}", *_figures(point, record))
    return "\n".join([*lines_of(table), *_stamp(record)]).strip("\n")


def _figures(point: "TimedPoint", record: "MachineRecord") -> tuple[str, str, str]:
    """The median, the fastest and the slowest round, and the part of the full model's time."""
    from statistics import median

    from globalprune.artifacts.evaluations.evaluation import median_of_rounds, ratio_of_rounds
    from globalprune.artifacts.formatting import spelled, spelled_with_error

    rounds = [_MILLISECONDS * seconds for seconds in point.seconds_per_token]
    middle, error = median_of_rounds(rounds)
    ends = " to ".join(spelled(end, error) for end in (min(rounds), max(rounds)))
    full = record.full.seconds_per_token
    part = _PERCENT * middle / (_MILLISECONDS * median(full))
    off = ratio_of_rounds(point.seconds_per_token, full)[1]
    return (
        spelled(middle, error),
        ends,
        f"{spelled_with_error(part, None if off is None else _PERCENT * off)} %",
    )


def _stamp(record: "MachineRecord") -> list[str]:
    """What the figures hold for."""
    hardware = record.hardware
    machine = hardware.gpu or f"{hardware.cpu}, {hardware.threads} threads"
    where = f"{record.dtype} on {record.device} ({machine})"
    rounds = len(record.full.seconds_per_token)
    asked = f"{record.tokens} tokens one by one behind {record.context:,}"
    return [
        f"the shape of {record.model.source}, {record.layers} layers, {where}",
        f"batch size {record.batch_size}, {asked}, {record.seconds:.0f} s in all",
        f"median of {rounds} rounds after a warm-up, points in turn; ± is the standard error",
    ]
