"""What an analysis knows of a plan: finding it, and the importance that the plan was made by."""

from pathlib import Path

from globalprune.artifacts.analyses.analysis_folder import Analysis, read_analysis
from globalprune.artifacts.plans.prune_plan import AnalysisReference, PrunePlan
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.figures import ImportanceByGroup
from globalprune.planning.scoring import Scoring, scored_table, scoring_of

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


def worth_of(plan: PrunePlan, analysis: Analysis) -> tuple[ImportanceByGroup, str]:
    """The importance that the plan was made by, and a doubt where the table lacks it by now."""
    default = scoring_of(analysis.record)
    scoring = default
    if plan.analysis is not None:
        scoring = Scoring(plan.analysis.importance, plan.analysis.normalised_by)
    doubt = ""
    if scoring != default and scoring.importance not in analysis.table.importances:
        doubt = (
            f"{analysis.folder}: its table has no importance_{scoring.importance} any more; "
            f"counted by {default}."
        )
        scoring = default
    return ImportanceByGroup.of(scored_table(analysis, scoring), scoring), doubt
