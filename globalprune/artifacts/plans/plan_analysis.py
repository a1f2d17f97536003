"""The analysis that a plan was made from: finding it, and what its groups were ranked by."""

from pathlib import Path

from globalprune.artifacts.analyses.analysis_folder import Analysis, read_analysis
from globalprune.artifacts.analyses.analysis_record import (
    ANALYSIS_FILE,
    AnalysisRecord,
    read_analysis_record,
)
from globalprune.artifacts.analyses.scoring import Scoring, doubt_of, scoring_of
from globalprune.artifacts.plans.prune_plan import AnalysisReference, PrunePlan
from globalprune.errors import ArtifactError, UsageError

_UNKNOWN = "unknown; name its analysis with --analysis."


def find_analysis(
    reference: AnalysisReference | None, path: Path, named: Path | None
) -> tuple[Analysis | None, str]:
    """The analysis that knows the groups of the plan at `path`, and a doubt about it, if any.

    It is `named`, else the one that the plan refers to, if that is still the same one.
    """
    if named is not None:
        analysis = read_analysis(named)
        return analysis, other_table(reference, path, analysis)
    if reference is None:
        return None, f"{path}: names no analysis, so its figures are {_UNKNOWN}"
    folder = path.resolve().parent / reference.path
    try:
        analysis = read_analysis(folder)
    except (ArtifactError, UsageError) as error:
        reason = str(error).splitlines()[0]
        where = f"its analysis was looked for in {folder} (analysis.path, from where the plan lies)"
        return None, f"{path}: {where} and can't be read: {reason} So its figures are {_UNKNOWN}"
    if analysis.record.table != reference.table:
        return (
            None,
            f"{path}: {folder} holds another analysis by now, so its figures are {_UNKNOWN}",
        )
    return analysis, ""


def other_table(reference: AnalysisReference | None, path: Path, analysis: Analysis) -> str:
    """A doubt, where the plan was made from another table than the one it is counted by."""
    if reference is None or reference.table == analysis.record.table:
        return ""
    return f"{path}: was made from another table than that of {analysis.folder}."


def plan_doubt(plan: PrunePlan, record: AnalysisRecord | None) -> str | None:
    """Why the analysis of the plan is doubted, if it is and the plan was made by what was tried."""
    reference = plan.analysis
    if reference is None or record is None or record.table != reference.table:
        return None
    return doubt_of(record, Scoring(reference.importance, reference.normalised_by))


def recorded_doubt(plan: PrunePlan, path: Path) -> str | None:
    """The same of the plan at `path`, by the analysis that it names, if that lies there."""
    if plan.analysis is None:
        return None
    record = path.resolve().parent / plan.analysis.path / ANALYSIS_FILE
    try:
        return plan_doubt(plan, read_analysis_record(record))
    except (ArtifactError, OSError):
        return None


def plan_scoring(plan: PrunePlan, analysis: Analysis) -> tuple[Scoring, str]:
    """What the plan was made by, and a doubt where the table lacks that by now."""
    default = scoring_of(analysis.record)
    if plan.analysis is None:
        return default, ""
    scoring = Scoring(plan.analysis.importance, plan.analysis.normalised_by)
    if scoring == default or scoring.importance in analysis.table.importances:
        return scoring, ""
    return default, (
        f"{analysis.folder}: its table has no importance_{scoring.importance} any more; "
        f"counted by {default}."
    )
