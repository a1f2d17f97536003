"""`gp show`: an analysis or a plan, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from globalprune.cli import console, options

if TYPE_CHECKING:
    from globalprune.artifacts.plans.plan_summary import LayerSummary, SublayerSummary
    from globalprune.planning.review import Overview


_BAR: Final = 24  # characters
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


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

    overview = overview_of(path, analysis, importance)
    for warning in overview.warnings:
        console.note(warning)
    if as_json:
        console.print_json(_document(overview))
    else:
        console.print_text("\n".join(_lines(overview)))


def _lines(overview: "Overview") -> list[str]:
    """A line for each layer, below a heading."""
    lines = list(filter(None, [overview.trial_warning]))
    if overview.effect is not None:
        from globalprune.planning.summary import removal_text

        lines.append(removal_text(overview.effect))
    what = "kept" if overview.plan is not None else "importance"
    columns = [f"{kind}: {what}" for kind in ("attention", "mlp")]
    head = "  ".join(f"{column:<{_BAR + 20}}" for column in columns)
    lines.append(f"layer  {head}  importance by {overview.scoring}")
    most = max(_importance(layer) for layer in overview.layers) or 1.0
    for layer in overview.layers:
        sublayers = "  ".join(
            _sublayer_text(sublayer, most, planned=overview.plan is not None)
            for sublayer in layer.sublayers.values()
        )
        share = f"{100 * _importance(layer):6.2f} %"
        lines.append(f"{layer.layer_idx:>5}  {sublayers}  {share}{' dropped' * layer.dropped}")
    return lines


def _sublayer_text(sublayer: "SublayerSummary", most: float, *, planned: bool) -> str:
    """A bar and its figure; `most` is the importance of the longest bar."""
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
    """A fraction as a bar, in eighths of a character."""
    eighths = round(max(0.0, min(1.0, part)) * _BAR * 8)
    text = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{text:<{_BAR}}"


def _importance(layer: "LayerSummary") -> float:
    """The layer's share of all importance."""
    return sum(sublayer.importance or 0.0 for sublayer in layer.sublayers.values())


def _document(overview: "Overview") -> dict[str, Any]:
    """The same for a program; importances are shares of all, null where not measured."""
    from dataclasses import asdict

    return {
        "doubt": overview.trial_warning,
        "importance": overview.scoring.importance,
        "normaliser": overview.scoring.normaliser,
        "ratio": overview.effect.ratio if overview.effect else None,
        "layers": [_layer_document(asdict(layer)) for layer in overview.layers],
        "notes": list(overview.warnings),
    }


def _layer_document(layer: dict[str, Any]) -> dict[str, Any]:
    """One layer as `--json` prints it: its sublayers have the key that they always had."""
    return {"halves" if key == "sublayers" else key: value for key, value in layer.items()}
