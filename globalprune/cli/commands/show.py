"""`gp show`: an analysis or a plan as a picture of its layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globalprune.cli import console, options

if TYPE_CHECKING:
    from globalprune.artifacts.plans.plan_summary import LayerSummary, SublayerSummary
    from globalprune.planning.review import Picture


_BAR = 24  # characters
_PARTS = " ▏▎▍▌▋▊▉█"


def show(
    *,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|PLAN", help="An analysis folder or a plan.", show_default=False
        ),
    ],
    analysis: options.AnalysisFolder = None,
    importance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show the table's column importance_NAME.",
            show_default="the one that the plan was made by, or that the table is scored by",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show, layer by layer, what a plan keeps and how the importance lies over the depth.

    A bar is the part of a sublayer's groups that stays, or, of an analysis, the importance of the
    sublayer beside that of the most important one.

    Example:  gp show analysis/plan.yaml
    """
    from globalprune.planning.review import overview_of

    picture = overview_of(path, analysis, importance)
    for note in picture.notes:
        console.note(note)
    if as_json:
        console.print_json(_document(picture))
    else:
        console.print_text("\n".join(_lines(picture)))


def _lines(picture: "Picture") -> list[str]:
    """The picture, a layer a line."""
    lines = list(filter(None, [picture.doubt]))
    if picture.effect is not None:
        from globalprune.planning.summary import removal_text

        lines.append(removal_text(picture.effect))
    what = "kept" if picture.plan is not None else "importance"
    columns = [f"{kind}: {what}" for kind in ("attention", "mlp")]
    head = "  ".join(f"{column:<{_BAR + 20}}" for column in columns)
    lines.append(f"layer  {head}  importance by {picture.scoring}")
    most = max(_worth(layer) for layer in picture.layers) or 1.0
    for layer in picture.layers:
        sublayers = "  ".join(
            _sublayer_text(sublayer, most, planned=picture.plan is not None)
            for sublayer in layer.sublayers.values()
        )
        share = f"{100 * _worth(layer):6.2f} %"
        lines.append(f"{layer.layer_idx:>5}  {sublayers}  {share}{' dropped' * layer.dropped}")
    return lines


def _sublayer_text(sublayer: "SublayerSummary", most: float, *, planned: bool) -> str:
    """A bar and the figure behind it."""
    if planned:
        figure = f"{sublayer.kept:,} of {sublayer.groups:,}"
        part = sublayer.kept / sublayer.groups if sublayer.groups else 0.0
    else:
        figure = (
            "not measured" if sublayer.importance is None else f"{100 * sublayer.importance:.2f} %"
        )
        part = (sublayer.importance or 0.0) / most
    return f"{_bar(part)} {figure:<19}"


def _bar(part: float) -> str:
    """A part of one as a bar, in eighths of a character."""
    eighths = round(max(0.0, min(1.0, part)) * _BAR * 8)
    text = "█" * (eighths // 8) + (_PARTS[eighths % 8] if eighths % 8 else "")
    return f"{text:<{_BAR}}"


def _worth(layer: "LayerSummary") -> float:
    """The layer's share of the importance."""
    return sum(sublayer.importance or 0.0 for sublayer in layer.sublayers.values())


def _document(picture: "Picture") -> dict[str, Any]:
    """The same for a program; importances are shares of the whole, null where not measured."""
    from dataclasses import asdict

    return {
        "doubt": picture.doubt,
        "importance": picture.scoring.importance,
        "normaliser": picture.scoring.normaliser,
        "ratio": picture.effect.ratio if picture.effect else None,
        "layers": [asdict(layer) for layer in picture.layers],
        "notes": list(picture.notes),
    }
