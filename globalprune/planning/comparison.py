"""Two plan files side by side, with what their analysis knows of them."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import Analysis, Scoring
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import open_plan
from globalprune.artifacts.plans.plan_summary import find_analysis, other_table
from globalprune.errors import PlanStale
from globalprune.planning.difference import (
    HalfDifference,
    Total,
    differences,
    other_differences,
    total_of,
)
from globalprune.planning.knowledge import worth_of


@dataclass(frozen=True)
class PlanComparison:
    """In what two plans differ; figures that nothing tells are None."""

    first: Path
    second: Path
    halves: tuple[HalfDifference, ...]
    only_first: Total
    only_second: Total
    scoring: Scoring | None
    others: dict[str, tuple[str, str]]
    notes: tuple[str, ...]


def compare_plans(first: Path, second: Path, analysis_folder: Path | None) -> PlanComparison:
    """Read both and compare; raise `PlanStale` where they are for different structures."""
    documents = open_plan(first), open_plan(second)
    one, other = (document.plan() for document in documents)
    named = [plan.model.structure for plan in (one, other) if plan.model]
    if len(set(named)) > 1:
        raise PlanStale(
            f"{first} and {second}: were made for different structures ({named[0]} and "
            f"{named[1]}), so their indices mean different groups; compare plans of one model."
        )
    analysis, notes = _known(one, first, other, second, analysis_folder)
    structure = analysis.record.structure if analysis else None
    if structure is not None:
        one, other = (document.plan(structure) for document in documents)
    worth, doubt = worth_of(one, analysis) if analysis else (None, "")
    halves = differences(one, other, structure)
    firsts = [(half.layer_idx, half.group_type, half.only_first) for half in halves]
    seconds = [(half.layer_idx, half.group_type, half.only_second) for half in halves]
    return PlanComparison(
        first=first,
        second=second,
        halves=halves,
        only_first=total_of(firsts, structure, worth),
        only_second=total_of(seconds, structure, worth),
        scoring=worth.scoring if worth else None,
        others=other_differences(one, other, structure),
        notes=tuple(dict.fromkeys(filter(None, (*notes, doubt)))),
    )


def _known(
    one: PrunePlan, first: Path, other: PrunePlan, second: Path, folder: Path | None
) -> tuple[Analysis | None, tuple[str, ...]]:
    """The analysis of the first plan, or else of the second, and what is doubtful about it."""
    analysis, note = find_analysis(one.analysis, first, folder)
    if analysis is None:
        analysis, other_note = find_analysis(other.analysis, second, None)
        if analysis is None:
            return None, (note, other_note)
        note = other_table(one.analysis, first, analysis)
    return analysis, (note, other_table(other.analysis, second, analysis))
