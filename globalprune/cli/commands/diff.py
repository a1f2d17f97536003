"""`gp diff`: in what two plans differ."""

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
    """Say in what two plans differ: in groups, in parameters and in importance.

    Plans made for different structures can't be compared. Exit code 0, whether they differ or not.

    Example:  gp diff analysis/plan-0.10.yaml analysis/plan-0.20.yaml
    """
    from globalprune.planning.diff import compare_plans

    found = compare_plans(first, second, analysis)
    for note in found.notes:
        console.note(note)
    if as_json:
        console.print_json(_document(found))
    else:
        console.print_text("\n".join(_lines(found)))


def _lines(found: "PlanComparison") -> list[str]:
    """Say it to a person, sublayer by sublayer."""
    if not found.sublayers and not found.others:
        return [f"{found.first} and {found.second} make the same decisions"]
    lines = []
    for sublayer in found.sublayers[:SHOWN_SUBLAYERS]:
        sides = [(found.first, sublayer.only_first), (found.second, sublayer.only_second)]
        said = [f"only {path} removes {shortened(ranges)}" for path, ranges in sides if ranges]
        lines.append(f"layer {sublayer.layer_idx} {sublayer.group_type}: {'; '.join(said)}")
    if len(found.sublayers) > SHOWN_SUBLAYERS:
        lines.append(
            f"… and {len(found.sublayers) - SHOWN_SUBLAYERS} more sublayers (--json has all)"
        )
    for path, side in ((found.first, found.only_first), (found.second, found.only_second)):
        figures = [f"{_known(side.groups)} groups", f"{_known(side.parameters)} parameters"]
        if side.importance is not None:
            figures.append(f"importance {side.importance:.4g} ({found.scoring})")
        lines.append(f"only {path}: {', '.join(figures)}")
    return [*lines, *(f"{name}: {one} → {two}" for name, (one, two) in found.others.items())]


def _document(found: "PlanComparison") -> dict[str, Any]:
    """Say it to a program; unknown figures are null."""
    from dataclasses import asdict

    return {
        "first": str(found.first),
        "second": str(found.second),
        "same": not found.sublayers and not found.others,
        "importance": found.scoring.importance if found.scoring else None,
        "normaliser": found.scoring.normaliser if found.scoring else None,
        "only_first": asdict(found.only_first),
        "only_second": asdict(found.only_second),
        "sublayers": [
            {
                "layer_idx": sublayer.layer_idx,
                "group_type": sublayer.group_type,
                "only_first": str(sublayer.only_first),
                "only_second": str(sublayer.only_second),
            }
            for sublayer in found.sublayers
        ],
        "others": found.others,
        "notes": list(found.notes),
    }


def _known(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
