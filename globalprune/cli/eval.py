"""`gp eval`: models side by side."""

from typing import Annotated

import typer

from globalprune.cli import console, options


def eval_(
    *,
    models: options.Models,
    data: Annotated[
        str,
        options.text_option(
            "Text to judge by", "the part of the Python manual that calibration never sees"
        ),
    ] = "builtin",
    samples: Annotated[
        int | None,
        typer.Option(help="Number of windows, from the start of the text.", show_default="all"),
    ] = None,
    seq_len: options.SeqLen = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Tokens from one window's start to the next, at least a window: none overlap.",
            show_default="the window's length",
        ),
    ] = None,
    batch_size: options.BatchSize = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.AsJson = False,
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
