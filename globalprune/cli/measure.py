"""`gp measure`: how long a token takes on this machine, by what a model's layers keep."""

from pathlib import Path
from typing import Annotated

import typer

from globalprune.cli import console, model_arguments, options


def measure(
    *,
    model: model_arguments.Model,
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
        int, typer.Option(help="Tokens that a turn decodes one by one; more mean less noise.")
    ] = 16,
    points: Annotated[
        int,
        typer.Option(
            help="Counts of each kind that are timed, evenly spaced from none to all; all counts "
            "where a layer has fewer groups."
        ),
    ] = 5,
    rounds: Annotated[
        int, typer.Option(help="How often each point has its turn, after one that warms up.")
    ] = 3,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Time a decoded token on this machine, by how many groups the layers keep.

    Only the model's config and shapes are read. For each point a model of random numbers is built
    whose layers all keep as many attention groups, or MLP channels, and all of the other kind; each
    decodes behind a filled KV cache, in turns, with the classes that a cut model is loaded with.
    What a plan would take follows from lines between the points. Let nothing else run meanwhile.

    Example:  gp measure MODEL -o machine.json --context 2048
    """
    from globalprune.artifacts.disk import refuse_inside
    from globalprune.artifacts.evaluations.latency import refuse_machine_place
    from globalprune.artifacts.records import write_record
    from globalprune.artifacts.writer_lock import one_writer
    from globalprune.cli.measure_table import render
    from globalprune.evaluation.latency import measure_latencies

    refuse_machine_place(out)
    refuse_inside(out, Path(model).expanduser())
    with one_writer(out), console.progress_bars() as progress:
        record = measure_latencies(
            model,
            batch_size=batch_size,
            context=context,
            tokens=tokens,
            points=points,
            rounds=rounds,
            device=device,
            dtype=dtype,
            command=console.command_line(),
            progress=progress,
        )
        for warning in record.warnings:
            console.warn(warning)
        write_record(out, record)
    if as_json:
        console.print_json(record.model_dump(mode="json"))
    else:
        console.print_text(render(record))
