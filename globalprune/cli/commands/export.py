"""`gp export`: a model for another runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.export.exporter import ExportResult


_FORMATS = ("gguf",)


def export(
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Local folder or Hub id[@revision]; it is only read.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="gguf", help="The format: gguf, for llama.cpp.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The .gguf file to write; a GGUF file that lies there is replaced.",
            show_default=False,
        ),
    ],
    dtype: Annotated[
        str | None,
        typer.Option(
            "--save-dtype",
            "--dtype",
            metavar="float32|float16|bfloat16|q8_0",
            help="What matrices are written in, f32, f16 and bf16 for short; vectors stay f32.",
            show_default="bf16 for a checkpoint in bfloat16, else f16",
        ),
    ] = None,
    donor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A GGUF file of the same model, whose tokenizer is copied.",
            show_default="the tokenizer.json beside MODEL",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a model, cut or not, for llama.cpp; layers may differ in size, and sublayers be empty.

    Models whose layers are alike get their architecture's own form, others one that counts heads
    and channels by layer. What llama.cpp has no form for is refused, and so is a tokenizer that it
    would run in another way. Tensors are written one by one, so memory never holds the model.

    Example:  gp export smaller --to gguf -o smaller.gguf --save-dtype q8_0
    """
    if to not in _FORMATS:
        raise UsageError(f"--to {to}: is not known; there is {', '.join(_FORMATS)}.")
    from globalprune.artifacts.writer_lock import writer_lock

    options.prunable_model(model)
    from globalprune.export.exporter import export_gguf

    with writer_lock(out), console.progress_bars() as progress:
        exported = export_gguf(model, out, dtype=dtype, donor=donor, progress=progress)
    for note in exported.warnings:
        console.note(note)
    if as_json:
        console.print_json(exported.document)
    else:
        console.print_text(_summary(exported))


def _summary(exported: "ExportResult") -> str:
    """What was written, in a line."""
    padding = f", {exported.padding:,} zeros beside them" if exported.padding else ""
    return (
        f"{exported.path}: {exported.architecture}, {exported.dtype}, "
        f"{exported.bytes / 1e6:,.1f} MB, {exported.parameters:,} parameters{padding}"
    )
