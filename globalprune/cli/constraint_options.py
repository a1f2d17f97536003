"""The options of `gp plan` that say what may not go."""

from typing import Annotated

import typer

_PANEL = "What may not go"

ProtectLayers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="0,1,-1",
        help="Layers that stay whole; -1 is the last one.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
MinAttentionGroups = Annotated[
    int | None,
    typer.Option(
        help="Key/value heads that stay in every layer, at least.",
        show_default="0",
        rich_help_panel=_PANEL,
    ),
]
MinMlp = Annotated[
    int | None,
    typer.Option(
        help="MLP channels that stay in every layer, at least.",
        show_default="0",
        rich_help_panel=_PANEL,
    ),
]
MaxLayerRatio = Annotated[
    float | None,
    typer.Option(
        help="Fraction of a layer's parameters (norms aside) that may go, at most.",
        show_default="1.0",
        rich_help_panel=_PANEL,
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        metavar="mlp|attention",
        help="Take nothing but one kind of group.",
        show_default="both",
        rich_help_panel=_PANEL,
    ),
]
AttentionShare = Annotated[
    float | None,
    typer.Option(
        help="How much of what goes is attention, as a fraction of the parameters.",
        show_default="as it comes out",
        rich_help_panel=_PANEL,
    ),
]
RoundMlp = Annotated[
    int | None,
    typer.Option(
        metavar="64|128",
        help="Make every MLP's width a multiple of it, for tensor cores and runtimes.",
        show_default="1",
        rich_help_panel=_PANEL,
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="transformers|vllm|llama.cpp|any",
        help="Cut so that this program can load what is left; any: a plain checkpoint.",
        show_default="transformers, which loads every cut",
        rich_help_panel=_PANEL,
    ),
]
Uniform = Annotated[
    bool,
    typer.Option(
        "--uniform",
        help="Take as much from every layer, so that the result is a plain checkpoint.",
        rich_help_panel=_PANEL,
    ),
]
WholeLayers = Annotated[
    bool,
    typer.Option(
        "--whole-layers",
        help="Take whole layers or nothing of them.",
        rich_help_panel=_PANEL,
    ),
]
