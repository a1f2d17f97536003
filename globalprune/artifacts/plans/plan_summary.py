"""A plan beside its analysis: finding the analysis, and both layer by layer."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    AnalysisRecord,
    Scoring,
    doubt_of,
    read_analysis,
    read_analysis_record,
    scoring_of,
)
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import AnalysisReference, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
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
        return analysis, table_warning(reference, path, analysis)
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


def table_warning(reference: AnalysisReference | None, path: Path, analysis: Analysis) -> str:
    """Return a doubt, where the plan was made from another table than the one it is counted by."""
    if reference is None or reference.table == analysis.record.table:
        return ""
    return f"{path}: was made from another table than that of {analysis.folder}."


def plan_warning(plan: PrunePlan, record: AnalysisRecord | None) -> str | None:
    """Why the analysis of the plan is doubted, if it is and the plan was made by what was tried."""
    reference = plan.analysis
    if reference is None or record is None or record.table != reference.table:
        return None
    return doubt_of(record, Scoring(reference.importance, reference.normalised_by))


def recorded_warning(plan: PrunePlan, path: Path) -> str | None:
    """Return the same of the plan at `path`, by the analysis that it names, if that lies there."""
    if plan.analysis is None:
        return None
    record = path.resolve().parent / plan.analysis.path / ANALYSIS_FILE
    try:
        return plan_warning(plan, read_analysis_record(record))
    except (ArtifactError, OSError):
        return None


def plan_scoring(plan: PrunePlan, analysis: Analysis) -> tuple[Scoring, str]:
    """Return what the plan was made by, and a doubt where the table lacks that by now."""
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


@dataclass(frozen=True)
class SublayerSummary:
    """One sublayer of a layer."""

    groups: int
    kept: int
    importance: float | None  # of all its groups, as a share of the model's; None: not measured
    lost: float | None  # the share that goes


@dataclass(frozen=True)
class LayerSummary:
    """One layer, its sublayers by kind."""

    layer_idx: int
    sublayers: dict[GroupType, SublayerSummary]
    dropped: bool


def layer_summaries(
    structure: ModelStructure, table: GroupTable | None, effect: PlanEffect | None
) -> tuple[LayerSummary, ...]:
    """A picture of every layer; without a table no importance is known, without an effect all stay.

    Importances are shares of the table's sum.
    """
    total = (float(table.importance.sum()) if table else 0.0) or 1.0
    found = []
    for at, layer in enumerate(structure.layers):
        cut = effect.layers[at] if effect else None
        sublayers: dict[GroupType, SublayerSummary] = {}
        for kind in GROUP_TYPES:
            groups = layer.sublayer(kind).groups
            kept = cut.of(kind) if cut else IndexSet.below(groups)
            rows = table.sublayers.get((at, kind)) if table else None
            worth = lost = None
            if table is not None and rows is not None:
                shares = table.importance[rows] / total
                worth = float(shares.sum())
                lost = worth - float(shares[kept.to_array()].sum())
            sublayers[kind] = SublayerSummary(groups, len(kept), worth, lost)
        found.append(LayerSummary(at, sublayers, dropped=cut.dropped if cut else False))
    return tuple(found)
