"""What groups are ranked by: an importance column, and the normaliser of its scores."""

from dataclasses import dataclass

from globalprune.artifacts.analyses.analysis_folder import Analysis
from globalprune.artifacts.analyses.analysis_record import AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.normalisers import NormaliserName, normaliser_named, scored_by


@dataclass(frozen=True)
class Scoring:
    """An importance and what its scores go through."""

    importance: str
    normaliser: NormaliserName

    def __str__(self) -> str:
        return scored_by(self.importance, self.normaliser)


def scoring_of(
    record: AnalysisRecord, importance: str | None = None, normaliser: str | None = None
) -> Scoring:
    """What a person asks for; the analysis says the rest. A column of one's own is ranked raw."""
    name = importance or record.default_importance
    if normaliser is None:
        return Scoring(name, record.normaliser_of(name))
    return Scoring(name, normaliser_named(normaliser))


def doubt_of(record: AnalysisRecord, scoring: Scoring) -> str | None:
    """Why the analysis is doubted, as far as that is about these scores: others weren't tried."""
    return record.doubt if scoring == scoring_of(record) else None


def scored_table(analysis: Analysis, scoring: Scoring) -> GroupTable:
    """The analysis's table as it stands, if it is scored so already, or scored anew."""
    if scoring == scoring_of(analysis.record):
        return analysis.table
    return analysis.table.rescored(scoring.importance, scoring.normaliser)
