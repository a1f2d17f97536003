"""The options of `gp plan` for budgets and constraints."""

from pathlib import Path
from typing import Annotated

import typer

_BUDGETS_PANEL = "How small"

Params = Annotated[
    str | None,
    typer.Option(
        metavar="6B",
        help="Parameters that may be left, of the whole model.",
        show_default=False,
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="12GB",
        help="Bytes that the files of all weights may take; GB are powers of ten, GiB of two.",
        show_default=False,
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
KvCache = Annotated[
    str | None,
    typer.Option(
        metavar="96KiB",
        help="Bytes that each token may take in the KV cache.",
        show_default=False,
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
Flops = Annotated[
    str | None,
    typer.Option(
        metavar="10G",
        help="Floating-point operations that the decoder layers may take for a token.",
        show_default=False,
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
Latency = Annotated[
    str | None,
    typer.Option(
        metavar="20ms",
        help="Time that a decoded token may take, told by --machine.",
        show_default=False,
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
Machine = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What gp measure wrote, for --latency.",
        show_default=False,
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What --size and --kv-cache count in: float32, bfloat16, float16 or int8. For --size "
        "of another one than MODEL's, cut with gp apply --save-dtype.",
        show_default="as MODEL is stored",
        rich_help_panel=_BUDGETS_PANEL,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        help="Tokens before the one whose --flops are counted; those that --kv-cache holds.",
        show_default="2048",
        rich_help_panel=_BUDGETS_PANEL,
    ),
]


_CONSTRAINTS_PANEL = "What may not go"

ProtectLayers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="0,1,-1",
        help="Layers that stay whole; -1 is the last one.",
        show_default=False,
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
MinAttentionGroups = Annotated[
    int | None,
    typer.Option(
        help="Key/value heads that stay in every layer, at least.",
        show_default="0",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
MinMlp = Annotated[
    int | None,
    typer.Option(
        help="MLP channels that stay in every layer, at least.",
        show_default="0",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
MaxLayerRatio = Annotated[
    float | None,
    typer.Option(
        help="Fraction of a layer's parameters (norms aside) that may go, at most.",
        show_default="1.0",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        metavar="mlp|attention",
        help="Take nothing but one kind of group.",
        show_default="both",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
AttentionShare = Annotated[
    float | None,
    typer.Option(
        help="How much of what goes is attention, as a fraction of the parameters.",
        show_default="as it comes out",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
RoundMlp = Annotated[
    int | None,
    typer.Option(
        metavar="64|128",
        help="Make every MLP's width a multiple of it, for tensor cores and runtimes.",
        show_default="1",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="transformers|vllm|llama.cpp|any",
        help="Cut so that this program can load what is left; any: a plain checkpoint.",
        show_default="transformers, which loads every cut",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
Uniform = Annotated[
    bool,
    typer.Option(
        "--uniform",
        help="Take as much from every layer, so that the result is a plain checkpoint.",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
WholeLayers = Annotated[
    bool,
    typer.Option(
        "--whole-layers",
        help="Take whole layers or nothing of them.",
        rich_help_panel=_CONSTRAINTS_PANEL,
    ),
]
