"""Two plan files side by side, with what their analysis knows of them."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.plan_file import read_plan
from globalprune.errors import PlanStale
from globalprune.planning.difference import (
    HalfDifference,
    OneSided,
    differences,
    one_sided,
    other_differences,
)
from globalprune.planning.review import find_analysis, worth_of


@dataclass(frozen=True)
class PlanComparison:
    """In what two plans differ; figures that nothing tells are None."""

    first: Path
    second: Path
    halves: tuple[HalfDifference, ...]
    only_first: OneSided
    only_second: OneSided
    importance: str | None
    others: tuple[str, ...]
    notes: tuple[str, ...]


def compare_plans(first: Path, second: Path, analysis_folder: Path | None) -> PlanComparison:
    """Read both and compare; raise `PlanStale` where they are for different structures."""
    one, other = read_plan(first), read_plan(second)
    named = [plan.model.structure for plan in (one, other) if plan.model]
    if len(set(named)) > 1:
        raise PlanStale(
            f"{first} and {second}: were made for different structures ({named[0]} and "
            f"{named[1]}), so their indices mean different groups; compare plans of one model."
        )
    analysis, note = find_analysis(one, first, analysis_folder)
    if analysis is None and (found := find_analysis(other, second, None))[0] is not None:
        analysis, note = found
    structure = analysis.record.structure if analysis else None
    if structure is not None:
        one, other = read_plan(first, structure), read_plan(second, structure)
    worth = worth_of(one, analysis) if analysis else None
    halves = differences(one, other, structure)
    return PlanComparison(
        first=first,
        second=second,
        halves=halves,
        only_first=one_sided(halves, "first", structure, worth),
        only_second=one_sided(halves, "second", structure, worth),
        importance=worth.name if worth else None,
        others=other_differences(one, other, structure),
        notes=(note,) if note else (),
    )
