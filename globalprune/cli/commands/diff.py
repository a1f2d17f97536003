"""`gp diff`: how two plans differ."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globalprune.cli import console, options
from globalprune.cli.plan_text import SHOWN_SUBLAYERS, shortened

if TYPE_CHECKING:
    from globalprune.planning.diff import PlanComparison


def diff(
    *,
    first: Annotated[
        Path, typer.Argument(metavar="PLAN", help="The first plan.", show_default=False)
    ],
    second: Annotated[
        Path, typer.Argument(metavar="PLAN", help="The second plan.", show_default=False)
    ],
    analysis: options.AnalysisFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Show how two plans differ: in groups, in parameters and in importance.

    Plans made for different structures can't be compared. Exit code 0, whether they differ or not.

    Example:  gp diff analysis/plan-0.10.yaml analysis/plan-0.20.yaml
    """
    from globalprune.planning.diff import compare_plans

    comparison = compare_plans(first, second, analysis)
    for warning in comparison.warnings:
        console.note(warning)
    if as_json:
        console.print_json(_document(comparison))
    else:
        console.print_text("\n".join(_lines(comparison)))


def _lines(comparison: "PlanComparison") -> list[str]:
    """The differences for a person, sublayer by sublayer."""
    if not comparison.sublayers and not comparison.others:
        return [f"{comparison.first} and {comparison.second} make the same decisions"]
    lines = []
    for sublayer in comparison.sublayers[:SHOWN_SUBLAYERS]:
        sides = [(comparison.first, sublayer.only_first), (comparison.second, sublayer.only_second)]
        parts = [f"only {path} removes {shortened(indices)}" for path, indices in sides if indices]
        lines.append(f"layer {sublayer.layer_idx} {sublayer.group_type}: {'; '.join(parts)}")
    if len(comparison.sublayers) > SHOWN_SUBLAYERS:
        lines.append(
            f"… and {len(comparison.sublayers) - SHOWN_SUBLAYERS} more sublayers (--json has all)"
        )
    for path, side in (
        (comparison.first, comparison.only_first),
        (comparison.second, comparison.only_second),
    ):
        figures = [f"{_figure(side.groups)} groups", f"{_figure(side.parameters)} parameters"]
        if side.importance is not None:
            figures.append(f"importance {side.importance:.4g} ({comparison.scoring})")
        lines.append(f"only {path}: {', '.join(figures)}")
    return [*lines, *(f"{name}: {one} → {two}" for name, (one, two) in comparison.others.items())]


def _document(comparison: "PlanComparison") -> dict[str, Any]:
    """The same for a program; unknown figures are null."""
    from dataclasses import asdict

    return {
        "first": str(comparison.first),
        "second": str(comparison.second),
        "same": not comparison.sublayers and not comparison.others,
        "importance": comparison.scoring.importance if comparison.scoring else None,
        "normaliser": comparison.scoring.normaliser if comparison.scoring else None,
        "only_first": asdict(comparison.only_first),
        "only_second": asdict(comparison.only_second),
        "halves": [
            {
                "layer_idx": sublayer.layer_idx,
                "group_type": sublayer.group_type,
                "only_first": str(sublayer.only_first),
                "only_second": str(sublayer.only_second),
            }
            for sublayer in comparison.sublayers
        ],
        "others": comparison.others,
        "notes": list(comparison.warnings),
    }


def _figure(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
