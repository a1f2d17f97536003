"""In what two plans differ: half by half, the groups that only one of them removes."""

from collections.abc import Iterator
from dataclasses import dataclass

from globalprune.artifacts.groups import GROUP_TYPES, GroupType, ModelStructure
from globalprune.artifacts.index_ranges import IndexRanges
from globalprune.artifacts.plan_effect import effect_of
from globalprune.artifacts.prune_plan import LayerCuts, PrunePlan
from globalprune.planning.figures import ImportanceByGroup


@dataclass(frozen=True)
class HalfDifference:
    """One half of which the plans remove different groups."""

    layer_idx: int
    group_type: GroupType
    only_first: IndexRanges
    only_second: IndexRanges


@dataclass(frozen=True)
class OneSided:
    """What the groups that only one plan removes come to; None where nothing tells."""

    groups: int | None
    parameters: int | None
    importance: float | None


def differences(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None = None
) -> tuple[HalfDifference, ...]:
    """Compare two plans; without a structure, `all` beside numbers is shown as it stands."""
    return tuple(_differing_halves(first, second, structure))


def one_sided(
    found: tuple[HalfDifference, ...],
    side: str,
    structure: ModelStructure | None,
    worth: ImportanceByGroup | None,
) -> OneSided:
    """Sum up what only the `first` or only the `second` plan removes."""
    halves = [
        (half.layer_idx, half.group_type, half.only_first if side == "first" else half.only_second)
        for half in found
    ]
    if structure is None:
        unknown = any(ranges.everything for _, _, ranges in halves)
        return OneSided(None if unknown else sum(len(r) for _, _, r in halves), None, None)
    costs = [len(r) * structure.layers[layer].half(kind).cost for layer, kind, r in halves]
    sums = [worth.sum_of(*half) if worth else None for half in halves]
    importance = None if None in sums else sum(value for value in sums if value is not None)
    return OneSided(sum(len(r) for _, _, r in halves), sum(costs), importance)


def other_differences(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None = None
) -> tuple[str, ...]:
    """What differs beside the groups: dropped layers, pins, the target, the model, the table."""
    lines = []
    if first.remove_empty_layers != second.remove_empty_layers:
        pair = f"{_word(first.remove_empty_layers)} → {_word(second.remove_empty_layers)}"
        lines.append(f"remove_empty_layers: {pair}")
    if structure is not None:
        before = effect_of(first, structure).dropped_layers
        after = effect_of(second, structure).dropped_layers
        if before != after:
            lines.append(f"layers that go whole: {_numbers(before)} → {_numbers(after)}")
    for name in ("target", "analysis", "model", "pin"):
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            lines.append(f"{name}: {_short(name, first)} → {_short(name, second)}")
    return tuple(lines)


def _differing_halves(
    first: PrunePlan, second: PrunePlan, structure: ModelStructure | None
) -> Iterator[HalfDifference]:
    """Yield the halves that differ, in order."""
    nothing = LayerCuts()
    for layer in sorted(first.layers.keys() | second.layers.keys()):
        for kind in GROUP_TYPES:
            one = first.layers.get(layer, nothing).of(kind)
            other = second.layers.get(layer, nothing).of(kind)
            if structure is not None:
                groups = structure.layers[layer].half(kind).groups
                one, other = (IndexRanges.of(side.resolve(groups)) for side in (one, other))
            if one == other:
                continue
            if not one.everything and not other.everything:
                here, there = set(one), set(other)
                one, other = IndexRanges.of(here - there), IndexRanges.of(there - here)
            yield HalfDifference(layer, kind, one, other)


def _short(name: str, plan: PrunePlan) -> str:
    """One value in a few words."""
    match name:
        case "target":
            return "none" if plan.target is None else f"ratio {plan.target.ratio}"
        case "analysis":
            made = plan.analysis
            return "none" if made is None else f"{made.importance} of {made.table[:19]}…"
        case "model":
            return "none" if plan.model is None else plan.model.source
        case _:
            return f"layers {_numbers(tuple(plan.pin))}"


def _numbers(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers)) or "none"


def _word(value: object) -> str:
    return str(value).lower()
