"""What there is to say of a plan: what it removes, what was edited, and what stays unknown."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analysis_folder import Analysis, read_analysis
from globalprune.artifacts.groups import GROUP_TYPES
from globalprune.artifacts.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.plan_file import read_plan
from globalprune.artifacts.prune_plan import PrunePlan
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.difference import HalfDifference, differences
from globalprune.planning.figures import ImportanceByGroup
from globalprune.planning.planner import make_plan, scored_table


@dataclass(frozen=True)
class Review:
    """A plan that was read and found valid; None is what can't be known without the analysis."""

    path: Path
    plan: PrunePlan
    analysis: Analysis | None
    effect: PlanEffect | None
    worth: ImportanceByGroup | None
    edits: tuple[HalfDifference, ...] | None  # from what gp plan wrote to what stands there now
    notes: tuple[str, ...]


def review_plan(path: Path, analysis_folder: Path | None = None) -> Review:
    """Read a plan, and all that its analysis tells of it; raise with all that is wrong with it.

    The analysis is `analysis_folder`, else the one that the plan names, if it is still that one.
    """
    plan = read_plan(path)
    analysis, why_not = find_analysis(plan, path, analysis_folder)
    if analysis is None:
        return Review(path, plan, None, None, None, None, (why_not,))
    structure = analysis.record.structure
    plan = read_plan(path, structure)
    effect = effect_of(plan, structure)
    edits = _edits(plan, analysis)
    notes = (*([why_not] if why_not else []), *_notes(plan, analysis, effect))
    return Review(path, plan, analysis, effect, worth_of(plan, analysis), edits, notes)


def find_analysis(plan: PrunePlan, path: Path, named: Path | None) -> tuple[Analysis | None, str]:
    """The analysis that knows the plan's groups, and what is doubtful about it, if anything."""
    reference = plan.analysis
    if named is not None:
        analysis = read_analysis(named)
        if reference is not None and reference.table != analysis.record.table:
            return analysis, f"{path}: was made from another table than that of {named}."
        return analysis, ""
    unknown = "so its parameters and importance are unknown; name its analysis with --analysis."
    if reference is None:
        return None, f"{path}: names no analysis, {unknown}"
    folder = path.parent / reference.path
    try:
        analysis = read_analysis(folder)
    except (ArtifactError, UsageError) as error:
        reason = str(error).splitlines()[0]
        return None, f"{path}: its analysis can't be read ({reason}), {unknown}"
    if analysis.record.table != reference.table:
        return None, f"{path}: {folder} holds another analysis by now, {unknown}"
    return analysis, ""


def worth_of(plan: PrunePlan, analysis: Analysis) -> ImportanceByGroup:
    """The importance that the plan was made by; the analysis's own where the plan names none."""
    default = analysis.record.default_importance
    name = plan.analysis.importance if plan.analysis else default
    if name != default and name not in analysis.table.importances:
        name = default
    return ImportanceByGroup.of(scored_table(analysis, name), name)


def _edits(plan: PrunePlan, analysis: Analysis) -> tuple[HalfDifference, ...] | None:
    """What a person changed; None where what gp plan wrote can't be made again."""
    if not plan.edited:
        return ()
    if plan.target is None or plan.analysis is None:
        return None
    for pins in (plan.pin, {}):  # the pins may be the edit
        try:
            importance = plan.analysis.importance
            again = make_plan(analysis, plan.target.ratio, importance=importance, pins=pins).plan
        except ArtifactError:
            continue
        if again.decisions_digest() == plan.generated:
            return differences(again, plan, analysis.record.structure)
    return None


def _notes(plan: PrunePlan, analysis: Analysis, effect: PlanEffect) -> Iterator[str]:
    """Yield what a hand edit no longer keeps; it is honoured all the same."""
    if plan.target is not None and effect.ratio < plan.target.ratio:
        yield (
            f"removes {100 * effect.ratio:.2f} % where target.ratio says "
            f"{100 * plan.target.ratio:.2f} %."
        )
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            pin, kept = pins.of(kind), effect.layers[layer].of(kind)
            groups = analysis.record.structure.layers[layer].half(kind).groups
            gone = set(pin.keep.resolve(groups)) - set(kept)
            left = set(pin.remove.resolve(groups)) & set(kept)
            if gone:
                yield f"pin.{layer}.{kind}.keep: {min(gone)} is pinned to stay, and goes."
            if left:
                yield f"pin.{layer}.{kind}.remove: {min(left)} is pinned to go, and stays."
            if pin.width is not None and len(kept) != pin.width:
                yield f"pin.{layer}.{kind}.width: {pin.width} are pinned to stay, {len(kept)} do."
