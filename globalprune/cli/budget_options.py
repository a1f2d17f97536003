"""The options of `gp plan` that say how small a model should get, beside its ratio."""

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "How small"

Params = Annotated[
    str | None,
    typer.Option(
        metavar="6B",
        help="Parameters that may be left, of the whole model.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="12GB",
        help="Bytes that the files of all weights may take; GB are powers of ten, GiB of two.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
KvCache = Annotated[
    str | None,
    typer.Option(
        metavar="96KiB",
        help="Bytes that each token may take in the KV cache.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Flops = Annotated[
    str | None,
    typer.Option(
        metavar="10G",
        help="Floating-point operations that the decoder layers may take for a token.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Latency = Annotated[
    str | None,
    typer.Option(
        metavar="20ms",
        help="Time that a decoded token may take, told by --machine.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Machine = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What gp measure wrote, for --latency.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What --size and --kv-cache count in: float32, bfloat16, float16 or int8. For --size "
        "of another one than MODEL's, cut with gp apply --save-dtype.",
        show_default="as MODEL is stored",
        rich_help_panel=_PANEL,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        help="Tokens before the one whose --flops are counted; those that --kv-cache holds.",
        show_default="2048",
        rich_help_panel=_PANEL,
    ),
]
