"""What a person pinned: where wishes contradict each other, and where decisions break them.

Contradictions are errors. A decision that breaks a wish is a hand edit, which is honoured: a note.
"""

from collections.abc import Iterator

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.analyses.stored_weights import StoredWeights
from globalprune.artifacts.groups import GROUP_TYPES, GroupType, HalfStructure, ModelStructure
from globalprune.artifacts.plans.broken_constraints import broken_budgets, broken_constraints
from globalprune.artifacts.plans.fixed_halves import why_fixed
from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.prune_plan import HalfPins, PrunePlan
from globalprune.artifacts.plans.runtime_obstacles import obstacles

_MEND = "change the pin or the layer, or plan again."


def contradictions(
    pins: HalfPins, kind: GroupType, half: HalfStructure
) -> Iterator[tuple[str, str]]:
    """Yield (the wish to mend, what is wrong with it) for a half of that kind."""
    groups = half.groups
    keep, remove = (set(one.resolve(groups).tolist()) for one in (pins.keep, pins.remove))
    if half.fixed and (remove or (pins.width is not None and pins.width < groups)):
        yield ("remove" if remove else "width"), f"{why_fixed(kind)}; take it out."
        return
    if both := keep & remove:
        yield "remove", f"{IndexRanges.of(both)} is both in keep and in remove; name it in one."
    if pins.width is None:
        return
    if pins.width < len(keep):
        yield "width", f"{pins.width} is less than the {len(keep)} groups of keep; write more."
    if pins.width > groups - len(remove):
        left = groups - len(remove)
        yield "width", f"{pins.width} is more than the {left} that remove leaves; write less."


def broken_wishes(
    plan: PrunePlan,
    effect: PlanEffect,
    structure: ModelStructure,
    traits: ModelTraits | None,
    storage: StoredWeights | None = None,
) -> Iterator[str]:
    """Yield a sentence for every wish that the plan's decisions don't keep."""
    if plan.target is not None:
        yield from broken_budgets(plan.target, effect, structure, storage)
    yield from broken_bounds(plan, effect, structure, traits)


def broken_bounds(
    plan: PrunePlan, effect: PlanEffect, structure: ModelStructure, traits: ModelTraits | None
) -> Iterator[str]:
    """Yield the same of constraints and pins: of all that says how, and not how much."""
    if plan.target is not None:
        yield from broken_constraints(plan.target.constraints, effect, structure)
        runtime = plan.target.constraints.runtime
        if runtime is not None and traits is not None:
            for obstacle in obstacles(runtime, traits, structure, effect):
                yield f"constraints.runtime is not kept: {obstacle}"
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            groups = structure.layers[layer].half(kind).groups
            kept = set(effect.layers[layer].of(kind))
            for what in _broken(pins.of(kind), kept, groups):
                yield f"pin.{layer}.{kind}.{what}"


def _broken(pins: HalfPins, kept: set[int], groups: int) -> Iterator[str]:
    """Yield what of one half's wishes is not kept."""
    if gone := set(pins.keep.resolve(groups).tolist()) - kept:
        yield f"keep: {IndexRanges.of(gone)} is pinned to stay, and goes; {_MEND}"
    if left := set(pins.remove.resolve(groups).tolist()) & kept:
        yield f"remove: {IndexRanges.of(left)} is pinned to go, and stays; {_MEND}"
    if pins.width is not None and len(kept) != pins.width:
        yield f"width: {pins.width} are pinned to stay, {len(kept)} do; {_MEND}"
