"""`gp eval`: models side by side."""

from typing import Annotated

import typer

from globalprune.cli import console


def eval_(
    *,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Local folder, Hub id[@revision] or .gguf file; the first is the baseline.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="SRC",
            help="Text to judge by: a .txt, .jsonl, .parquet or .arrow file or a folder of these "
            "(column `text`, or `input_ids`: each row is a window as it stands), a Hub data set "
            "id[:config][:split], or `builtin`, the part of the Python manual that calibration "
            "never sees.",
        ),
    ] = "builtin",
    samples: Annotated[
        int | None,
        typer.Option(help="Number of windows, from the start of the text.", show_default="all"),
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option(help="Tokens in a window.", show_default="512")
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Tokens from one window's start to the next; windows never overlap.",
            show_default="the window's length",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Windows that run at once; changes no figure but speed and memory.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16.",
            show_default="float32 on cpu, the checkpoint's elsewhere",
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run code that lies in others' model folders; no model of ours needs it.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of the table.")
    ] = False,
) -> None:
    """Put models side by side: parameters, file size, perplexity, tokens/s, peak memory.

    Every model reads the same windows of text and is loaded alone. Perplexity is exp(total loss /
    predicted tokens). A model that saw this very text when it was cut gets a warning.

    Example:  gp eval MODEL smaller --data wiki.txt --seq-len 512 --samples 10
    """
    import json

    from globalprune.cli.eval_table import render
    from globalprune.evaluate.comparison import evaluate_models

    with console.progress_bars() as progress:
        comparison = evaluate_models(
            models,
            data,
            seq_len=seq_len,
            stride=stride,
            samples=samples,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    for result in comparison.models:
        for warning in result.warnings:
            console.say(f"warning: {result.source}: {warning}")
    for warning in comparison.warnings:
        console.say(f"warning: {warning}")
    if as_json:
        console.print_json(json.loads(comparison.model_dump_json()))
    else:
        console.print_text(render(comparison))
