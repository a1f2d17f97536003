"""Options that several commands share, so that they are spelled and explained alike."""

from pathlib import Path
from typing import Annotated, Any

import typer

_TEXT = (
    "a .txt, .jsonl, .parquet or .arrow file or a folder of these (column `text`, or `input_ids`: "
    "each row is a window as it stands), a Hub data set id[:config][:split], or `builtin`, "
)
_READ_ONLY = "Local folder, Hub id[@revision] or .gguf file"


def text_option(purpose: str, builtin: str, **settings: Any) -> Any:
    """`--data`: what the text is for, and which part of the manual `builtin` is."""
    return typer.Option(metavar="SRC", help=f"{purpose}: {_TEXT}{builtin}.", **settings)


Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help=f"{_READ_ONLY}; it is only read.", show_default=False),
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help=f"{_READ_ONLY}; the first is the baseline.", show_default=False
    ),
]
SeqLen = Annotated[int | None, typer.Option(help="Tokens in a window.", show_default="512")]
BatchSize = Annotated[
    int, typer.Option(help="Windows that run at once; changes no figure but speed and memory.")
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="the first GPU, else cpu")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16.",
        show_default="float32 on cpu, the checkpoint's elsewhere",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that lies in others' model folders; no model of ours needs it.",
    ),
]
AnalysisFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The analysis that knows the groups' costs and importances.",
        show_default="the one that the plan names, if it is still there",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
