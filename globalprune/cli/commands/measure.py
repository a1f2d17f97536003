"""`gp measure`: time a token on this machine, by what layers keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from globalprune.cli import console, options
from globalprune.cli.console import lines_of

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.latency_table import MachineRecord, TimedPoint


def measure(
    *,
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The .json file to write; latencies that lie there are replaced.",
            show_default=False,
        ),
    ],
    batch_size: Annotated[
        int, typer.Option(help="Sequences that are decoded together; one token of each is timed.")
    ] = 1,
    context: Annotated[
        int, typer.Option(help="Tokens that lie in the KV cache before the first that is timed.")
    ] = 2048,
    tokens: Annotated[
        int, typer.Option(help="Tokens that each round decodes one by one; more mean less noise.")
    ] = 16,
    points: Annotated[
        int,
        typer.Option(
            help="Counts of each kind that are timed, evenly spaced from none to all; all counts "
            "where a layer has fewer groups."
        ),
    ] = 5,
    rounds: Annotated[
        int, typer.Option(help="Rounds in which every point is timed, after one that warms up.")
    ] = 3,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Time a decoded token on this machine, by how many groups the layers keep.

    Only the model's config and shapes are read. For each point a model of random numbers is built
    whose layers all keep as many attention groups, or MLP channels, and all of the other kind; each
    decodes with a filled KV cache, in rounds, with the classes that a cut model is loaded with.
    What a plan would take follows from lines between the points. Let nothing else run meanwhile.

    Example:  gp measure MODEL -o machine.json --context 2048
    """
    from globalprune.artifacts.disk import refuse_inside_model
    from globalprune.artifacts.evaluations.latency_table import refuse_machine_output
    from globalprune.artifacts.records import write_record
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.options import MeasureOptions

    options.prunable_model(model)
    refuse_machine_output(out)
    refuse_inside_model(out, Path(model).expanduser())
    from globalprune.evaluation.latency import measure_latencies  # loads torch

    with writer_lock(out), console.progress_bars() as progress:
        record = measure_latencies(
            model,
            MeasureOptions(batch_size, context, tokens, points, rounds, device, dtype),
            command=console.command_line(),
            progress=progress,
        )
        for warning in record.warnings:
            console.warn(warning)
        write_record(out, record)
    if as_json:
        console.print_json(record.model_dump(mode="json"))
    else:
        console.print_text(latency_text(record))


_MILLISECONDS: Final = 1000
_PERCENT: Final = 100


def latency_text(record: "MachineRecord") -> str:
    """Draw the table, and under it what it was measured with."""
    from rich import box
    from rich.table import Table

    from globalprune.artifacts.formatting import GROUP_NAMES

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("every layer keeps")
    for name in ("ms a token", "rounds", "of the full model"):
        table.add_column(name, justify="right")
    table.add_row("all", *_figures(record.full, record))
    for kind, groups in GROUP_NAMES.items():
        whole = record.full.kept(kind)
        for point in reversed(record.points_of(kind)[:-1]):
            table.add_row(f"{point.kept(kind):,} of {whole:,} {groups}", *_figures(point, record))
    return "\n".join([*lines_of(table), *_stamp(record)]).strip("\n")


def _figures(point: "TimedPoint", record: "MachineRecord") -> tuple[str, str, str]:
    """The median, the fastest and the slowest round, and the part of the full model's time."""
    from statistics import median

    from globalprune.artifacts.evaluations.evaluation import median_of_rounds, ratio_of_rounds
    from globalprune.artifacts.formatting import format_number, format_with_error

    rounds = [_MILLISECONDS * seconds for seconds in point.seconds_per_token]
    middle, error = median_of_rounds(rounds)
    ends = " to ".join(format_number(end, error) for end in (min(rounds), max(rounds)))
    full = record.full.seconds_per_token
    part = _PERCENT * middle / (_MILLISECONDS * median(full))
    off = ratio_of_rounds(point.seconds_per_token, full)[1]
    return (
        format_number(middle, error),
        ends,
        f"{format_with_error(part, None if off is None else _PERCENT * off)} %",
    )


def _stamp(record: "MachineRecord") -> list[str]:
    """Return the lines that say what the figures hold for."""
    hardware = record.hardware
    machine = hardware.gpu or f"{hardware.cpu}, {hardware.threads} threads"
    where = f"{record.dtype} on {record.device} ({machine})"
    rounds = len(record.full.seconds_per_token)
    decoded = f"{record.tokens} tokens one by one after {record.context:,}"
    return [
        f"the shape of {record.model.source}, {record.layers} layers, {where}",
        f"batch size {record.batch_size}, {decoded}, {record.seconds:.0f} s in all",
        f"median of {rounds} rounds after a warm-up, points interleaved; ± is the standard error",
    ]
