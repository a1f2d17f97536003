"""Two plans compared, group by group and in total."""

from collections.abc import Iterator, Sequence
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

Removal = tuple[int, GroupType, IndexSet]  # layer, kind, groups


@dataclass(frozen=True)
class SublayerDifference:
    """One sublayer of which the plans remove different groups."""

    layer_idx: int
    group_type: GroupType
    only_first: IndexSet
    only_second: IndexSet


@dataclass(frozen=True)
class GroupTotals:
    """What some groups come to together; None where that is unknown."""

    groups: int | None
    parameters: int | None
    importance: float | None


@dataclass(frozen=True)
class PlanComparison:
    """How two plans differ."""

    first: Path
    second: Path
    sublayers: tuple[SublayerDifference, ...]
    only_first: GroupTotals
    only_second: GroupTotals
    scoring: Scoring | None  # None: no analysis is known
    others: dict[str, tuple[str, str]]  # what differs beside the groups, by name
    warnings: tuple[str, ...]


def compare_plans(first: Path, second: Path, analysis_folder: Path | None) -> PlanComparison:
    """Read two plans and compare them; raise `PlanStale` if they are for different structures."""
    documents = open_plan(first), open_plan(second)
    plans = tuple(document.plan() for document in documents)
    structures = [plan.model.structure for plan in plans if plan.model]
    if len(set(structures)) > 1:
        raise PlanStale(
            f"{first} and {second}: were made for different structures ({structures[0]} and "
            f"{structures[1]}), so their indices mean different groups; compare plans of one model."
        )
    analysis, warnings = _find_analysis(plans, (first, second), analysis_folder)
    structure = analysis.record.structure if analysis else None
    if structure is not None:
        plans = tuple(document.plan(structure) for document in documents)
    one, other = plans
    importance, warning = importance_of(one, analysis) if analysis else (None, "")
    sublayers = differences(one, other, structure)
    firsts = [(each.layer_idx, each.group_type, each.only_first) for each in sublayers]
    seconds = [(each.layer_idx, each.group_type, each.only_second) for each in sublayers]
    return PlanComparison(
        first=first,
        second=second,
        sublayers=sublayers,
        only_first=totals_of(firsts, structure, importance),
        only_second=totals_of(seconds, structure, importance),
        scoring=importance.scoring if importance else None,
        others=other_differences(one, other, structure),
        warnings=tuple(dict.fromkeys(filter(None, (*warnings, warning)))),
    )


def differences(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None = None
) -> tuple[SublayerDifference, ...]:
    """Return the sublayers that differ; without a structure, `all` beside numbers stays `all`."""
    return tuple(_differing_sublayers(first, second, structure))


def totals_of(
    removals: Sequence[Removal],
    structure: ModelStructure | None,
    importance: ImportanceByGroup | None,
) -> GroupTotals:
    """Sum up groups, parameters and importance of some groups; `structure` resolved their sets."""
    if structure is None:
        unknown = any(indices.everything for _, _, indices in removals)
        groups = None if unknown else sum(len(indices) for _, _, indices in removals)
        return GroupTotals(groups, None, None)
    costs = [
        len(indices) * structure.layers[layer].sublayer(kind).cost
        for layer, kind, indices in removals
    ]
    sums = [
        importance.sum_of(layer, kind, indices.to_array()) if importance else None
        for layer, kind, indices in removals
    ]
    total = None if None in sums else sum(value for value in sums if value is not None)
    return GroupTotals(sum(len(indices) for _, _, indices in removals), sum(costs), total)


def other_differences(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None = None
) -> dict[str, tuple[str, str]]:
    """Return what differs beside the groups, by name: what the first and the second say."""
    facts = [dict(_facts(plan, structure)) for plan in (first, second)]
    names = dict.fromkeys([*facts[0], *facts[1]])
    pairs = {name: (facts[0].get(name, "none"), facts[1].get(name, "none")) for name in names}
    return {name: (one, other) for name, (one, other) in pairs.items() if one != other}


def _differing_sublayers(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None
) -> Iterator[SublayerDifference]:
    """Yield the sublayers that differ, in order."""
    untouched = LayerCuts()
    for layer in sorted(first.layers.keys() | second.layers.keys()):
        for kind in GROUP_TYPES:
            one = first.layers.get(layer, untouched).of(kind)
            other = second.layers.get(layer, untouched).of(kind)
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
        for name, value in plan.target.explicit().items():
            yield f"target.{name}", str(value)
        for name, value in plan.target.constraints.explicit().items():
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
        yield f"pin.{layer}", _pins_text(pins)


def _pins_text(pins: LayerPins) -> str:
    """Return the pins of a layer in one line."""
    sublayers = pins.model_dump(mode="json", exclude_defaults=True)
    return "; ".join(
        f"{kind} {' '.join(f'{pin} {value}' for pin, value in fields.items())}"
        for kind, fields in sublayers.items()
    )


def _find_analysis(
    plans: tuple[PrunePlan, ...], paths: tuple[Path, Path], folder: Path | None
) -> tuple[Analysis | None, tuple[str, ...]]:
    """Return the analysis of the first plan, or else of the second, and warnings about it."""
    (one, other), (first, second) = plans, paths
    analysis, warning = find_analysis(one.analysis, first, folder)
    if analysis is None:
        analysis, other_warning = find_analysis(other.analysis, second, None)
        if analysis is None:
            return None, (warning, other_warning)
        warning = table_warning(one.analysis, first, analysis)
    return analysis, (warning, table_warning(other.analysis, second, analysis))
