"""Two plans compared, group by group and in total."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import Analysis, Scoring
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import LayerCuts, LayerPins, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import open_plan
from globalprune.artifacts.plans.plan_summary import find_analysis, table_warning
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import PlanStale
from globalprune.planning.summary import ImportanceByGroup, importance_of

Removal = tuple[int, GroupType, IndexSet]


@dataclass(frozen=True)
class SublayerDifference:
    """One sublayer of which the plans remove different groups."""

    layer_idx: int
    group_type: GroupType
    only_first: IndexSet
    only_second: IndexSet


@dataclass(frozen=True)
class Total:
    """What some groups come to together; None where nothing tells."""

    groups: int | None
    parameters: int | None
    importance: float | None


def differences(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None = None
) -> tuple[SublayerDifference, ...]:
    """Compare two plans; without a structure, `all` beside numbers is shown as it stands."""
    return tuple(_differing_sublayers(first, second, structure))


def total_of(
    removals: Iterable[Removal], structure: ModelStructure | None, worth: ImportanceByGroup | None
) -> Total:
    """Sum up groups, parameters and importance."""
    removed = list(removals)
    if structure is None:
        unknown = any(ranges.everything for _, _, ranges in removed)
        return Total(None if unknown else sum(len(ranges) for _, _, ranges in removed), None, None)
    costs = [
        len(ranges) * structure.layers[layer].sublayer(kind).cost for layer, kind, ranges in removed
    ]
    sums = [
        worth.sum_of(layer, kind, ranges.to_array()) if worth else None
        for layer, kind, ranges in removed
    ]
    importance = None if None in sums else sum(value for value in sums if value is not None)
    return Total(sum(len(ranges) for _, _, ranges in removed), sum(costs), importance)


def other_differences(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None = None
) -> dict[str, tuple[str, str]]:
    """What differs beside the groups, by name: what the first says, and what the second."""
    facts = [dict(_facts(plan, structure)) for plan in (first, second)]
    names = dict.fromkeys([*facts[0], *facts[1]])
    pairs = {name: (facts[0].get(name, "none"), facts[1].get(name, "none")) for name in names}
    return {name: (one, other) for name, (one, other) in pairs.items() if one != other}


def _differing_sublayers(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None
) -> Iterator[SublayerDifference]:
    """Yield the sublayers that differ, in order."""
    nothing = LayerCuts()
    for layer in sorted(first.layers.keys() | second.layers.keys()):
        for kind in GROUP_TYPES:
            one = first.layers.get(layer, nothing).of(kind)
            other = second.layers.get(layer, nothing).of(kind)
            if structure is not None:
                groups = structure.layers[layer].sublayer(kind).groups
                one, other = one.resolved(groups), other.resolved(groups)
            if one == other:
                continue
            if not one.everything and not other.everything:
                one, other = one - other, other - one
            yield SublayerDifference(layer, kind, one, other)


def _facts(plan: PrunePlan, structure: ModelStructure | None) -> Iterator[tuple[str, str]]:
    """Yield by name what a plan says beside its groups."""
    if plan.target is not None:
        for name, value in plan.target.said().items():
            yield f"target.{name}", str(value)
        for name, value in plan.target.constraints.said().items():
            yield f"target.constraints.{name}", str(value)
    if plan.analysis is not None:  # not its path: the same analysis may be reached by two
        yield "analysis.importance", plan.analysis.importance
        yield "analysis.normaliser", plan.analysis.normalised_by
        yield "analysis.table", plan.analysis.table
    if plan.model is not None:
        yield "model.source", plan.model.source
        yield "model.weights", str(plan.model.weights)
    yield "remove_empty_layers", str(plan.remove_empty_layers).lower()
    if structure is not None:
        dropped = effect_of(plan, structure).dropped_layers
        yield "layers that go whole", ", ".join(map(str, dropped)) or "none"
    for layer, pins in plan.pin.items():
        yield f"pin.{layer}", _spelled(pins)


def _spelled(pins: LayerPins) -> str:
    """The wishes for a layer in one line."""
    said = pins.model_dump(mode="json", exclude_defaults=True)
    return "; ".join(
        f"{kind} {' '.join(f'{wish} {value}' for wish, value in wishes.items())}"
        for kind, wishes in said.items()
    )


@dataclass(frozen=True)
class PlanComparison:
    """In what two plans differ; figures that nothing tells are None."""

    first: Path
    second: Path
    sublayers: tuple[SublayerDifference, ...]
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
    worth, doubt = importance_of(one, analysis) if analysis else (None, "")
    sublayers = differences(one, other, structure)
    firsts = [
        (sublayer.layer_idx, sublayer.group_type, sublayer.only_first) for sublayer in sublayers
    ]
    seconds = [
        (sublayer.layer_idx, sublayer.group_type, sublayer.only_second) for sublayer in sublayers
    ]
    return PlanComparison(
        first=first,
        second=second,
        sublayers=sublayers,
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
        note = table_warning(one.analysis, first, analysis)
    return analysis, (note, table_warning(other.analysis, second, analysis))
