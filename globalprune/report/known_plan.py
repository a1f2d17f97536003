"""A plan with as much of its analysis as is at hand."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import Analysis, AnalysisRecord
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import open_plan
from globalprune.artifacts.plans.plan_summary import find_analysis
from globalprune.report.measured import Measured


@dataclass(frozen=True)
class KnownPlan:
    """Without a `record` no sizes are known; a record may come without its table."""

    plan: PrunePlan
    record: AnalysisRecord | None
    analysis: Analysis | None
    doubt: str = ""


def plan_at(path: Path) -> tuple[KnownPlan, str]:
    """The plan in a file with the analysis that it names; and why that one is not at hand."""
    document = open_plan(path)
    analysis, missing = find_analysis(document.analysis, path, None)
    if analysis is None:
        doubt = (
            "Its analysis is not at hand (analysis.path in the plan says where it is looked for), "
            "so what it removes of how much is not known."
        )
        return KnownPlan(document.plan(), None, None, doubt), missing
    return KnownPlan(document.plan(analysis.record.structure), analysis.record, analysis), ""


def plan_beside(path: Path, measured: Measured | None) -> KnownPlan:
    """The plan of a result, as it was applied; the table beside it counts if it is its own."""
    document = open_plan(path)
    if measured is None:
        doubt = "No analysis lies beside it, so what it removes of how much is told by the cut."
        return KnownPlan(document.plan(), None, None, doubt)
    plan, analysis = document.plan(measured.record.structure), measured.analysis
    if plan.analysis is not None and plan.analysis.table != measured.record.table:
        analysis = None
    return KnownPlan(plan, measured.record, analysis)
