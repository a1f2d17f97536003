"""Where the decisions of a plan violate its budgets, its constraints or its pins.

Pins that contradict each other are errors. A decision that violates a pin or a constraint is a hand
edit: it is honoured and reported.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from globalprune.artifacts.plans.budgets import statuses_of
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Constraints, PrunePlan, SublayerPins, Target
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.plans.runtime_compatibility import obstacles
from globalprune.artifacts.stored_weights import StoredWeights
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    ModelStructure,
    ModelTraits,
    SublayerStructure,
    unprunable_reason,
)

_REMEDY: Final = "change the pin or the layer, or plan again."


def violations(
    plan: PrunePlan,
    effect: PlanEffect,
    structure: ModelStructure,
    traits: ModelTraits | None,
    storage: StoredWeights | None = None,
) -> Iterator[str]:
    """Yield a sentence for every budget, constraint and pin that the decisions violate."""
    if plan.target is not None:
        yield from budget_violations(plan.target, effect, structure, storage)
    yield from rule_violations(plan, effect, structure, traits)


def rule_violations(
    plan: PrunePlan, effect: PlanEffect, structure: ModelStructure, traits: ModelTraits | None
) -> Iterator[str]:
    """Yield a sentence for every constraint and pin that the decisions violate."""
    if plan.target is not None:
        yield from constraint_violations(plan.target.constraints, effect, structure)
        runtime = plan.target.constraints.runtime
        if runtime is not None and traits is not None:
            for obstacle in obstacles(runtime, traits, structure, effect):
                yield f"constraints.runtime is not kept: {obstacle}"
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            groups = structure.layers[layer].sublayer(kind).groups
            for what in _pin_violations(pins.of(kind), effect.layers[layer].of(kind), groups):
                yield f"pin.{layer}.{kind}.{what}"


def budget_violations(
    target: Target, effect: PlanEffect, structure: ModelStructure, storage: StoredWeights | None
) -> Iterator[str]:
    """Yield a sentence for every budget that is not met, or can't be counted without `storage`."""
    countable = target
    if target.size is not None and storage is None:
        yield "target.size can't be counted: its analysis doesn't say how weights are stored."
        countable = target.model_copy(update={"size": None})
    fields = target.explicit()
    for status in statuses_of(countable, effect, structure, storage):
        if status.is_met:
            continue
        requirement = status.requirement
        budgets = " and ".join(f"target.{name} ({fields[name]})" for name in requirement.budgets)
        needed = requirement.in_units(requirement.to_save)
        yield f"saves {requirement.describe(status.saved)} where {budgets} asks for {needed:,}."


def constraint_violations(
    constraints: Constraints, effect: PlanEffect, structure: ModelStructure
) -> Iterator[str]:
    """Yield a sentence for every violated constraint, with the layers that violate it."""
    for name, violating in _violating_layers(constraints, effect, structure):
        if violating:
            layers = IndexSet.of(violating)
            yield f"constraints.{name} is not kept in layer{'s' * (len(layers) > 1)} {layers}."
    if constraints.attention_share is not None:
        yield from _share_violations(constraints, constraints.attention_share, effect, structure)
    if constraints.uniform and effect.uneven:
        yield "constraints.uniform is not kept: the layers that stay differ in width."


def contradictions(
    pins: SublayerPins, kind: GroupType, sublayer: SublayerStructure
) -> Iterator[tuple[str, str]]:
    """Yield (the pin to change, what is wrong with it) for a sublayer of that kind."""
    groups = sublayer.groups
    keep, remove = pins.keep.resolved(groups), pins.remove.resolved(groups)
    if sublayer.fixed and (remove or (pins.width is not None and pins.width < groups)):
        yield (
            ("remove" if remove else "width"),
            f"{unprunable_reason(kind, sublayer)}; take it out.",
        )
        return
    if both := keep & remove:
        yield "remove", f"{both} is both in keep and in remove; name it in one."
    if pins.width is None:
        return
    if pins.width < len(keep):
        yield "width", f"{pins.width} is less than the {len(keep)} groups of keep; write more."
    if pins.width > groups - len(remove):
        left = groups - len(remove)
        yield "width", f"{pins.width} is more than the {left} that remove leaves; write less."


def _violating_layers(
    constraints: Constraints, effect: PlanEffect, structure: ModelStructure
) -> Iterator[tuple[str, list[int]]]:
    """Yield every constraint that binds single layers, and the layers that violate it."""
    layers = structure.layers
    protected = set(constraints.protect_layers)
    removed = [_removed_parameters(layer, structure) for layer in effect.layers]
    yield "protect_layers", [at for at, cut in enumerate(removed) if at in protected and any(cut)]
    floors = (constraints.min_attention_groups, constraints.min_mlp)
    names = ("min_attention_groups", "min_mlp")
    for kind, floor, name in zip(GROUP_TYPES, floors, names, strict=True):
        least = [min(floor, layer.sublayer(kind).groups) for layer in layers]
        yield (
            name,
            [at for at, layer in enumerate(effect.layers) if len(layer.of(kind)) < least[at]],
        )
    ratio = Fraction(repr(constraints.max_layer_ratio))
    whole = [sum(layer.sublayer(kind).prunable for kind in GROUP_TYPES) for layer in layers]
    yield "max_layer_ratio", [at for at, cut in enumerate(removed) if sum(cut) > ratio * whole[at]]
    for position, kind in enumerate(GROUP_TYPES):
        if constraints.only not in (None, kind):
            yield "only", [at for at, cut in enumerate(removed) if cut[position]]
    multiple = constraints.round_mlp
    yield "round_mlp", [at for at, layer in enumerate(effect.layers) if len(layer.mlp) % multiple]
    if constraints.whole_layers:
        parts = [at for at, cut in enumerate(removed) if sum(cut) not in (0, whole[at])]
        yield "whole_layers", parts


def _share_violations(
    constraints: Constraints, share: float, effect: PlanEffect, structure: ModelStructure
) -> Iterator[str]:
    """Yield a sentence where attention's part of what goes is off by more than one unit."""
    attention = sum(_removed_parameters(layer, structure)[0] for layer in effect.layers)
    target = math.ceil(Fraction(repr(share)) * effect.removed)
    unit = max(
        max(layer.attention.cost, layer.mlp.cost * constraints.round_mlp)
        for layer in structure.layers
    )
    if abs(attention - target) > unit * (len(structure.layers) if constraints.uniform else 1):
        part = attention / (effect.removed or 1)
        yield f"constraints.attention_share is {share}, and {part:.3f} of what goes is attention."


def _removed_parameters(layer: LayerEffect, structure: ModelStructure) -> tuple[int, int]:
    """Return the parameters that go, of the attention and of the MLP."""
    before = structure.layers[layer.layer_idx]
    attention, mlp = (
        (before.sublayer(kind).groups - len(layer.of(kind))) * before.sublayer(kind).cost
        for kind in GROUP_TYPES
    )
    return attention, mlp


def _pin_violations(pins: SublayerPins, kept: IndexSet, groups: int) -> Iterator[str]:
    """Yield the pins of one sublayer that are violated."""
    if removed := pins.keep.resolved(groups) - kept:
        yield f"keep: {removed} is pinned to stay, and goes; {_REMEDY}"
    if left := pins.remove.resolved(groups) & kept:
        yield f"remove: {left} is pinned to go, and stays; {_REMEDY}"
    if pins.width is not None and len(kept) != pins.width:
        yield f"width: {pins.width} are pinned to stay, {len(kept)} do; {_REMEDY}"
