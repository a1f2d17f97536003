"""Where the decisions of a plan break its pins, its budgets or its constraints.

Pins that contradict each other are errors. A decision that breaks a pin or a constraint is a hand
edit: it is honoured and reported.
"""

import math
from collections.abc import Iterator
from fractions import Fraction

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


def budget_violations(
    target: Target, effect: PlanEffect, structure: ModelStructure, storage: StoredWeights | None
) -> Iterator[str]:
    """Yield a sentence for every budget that is not kept, or can't be counted."""
    counted = target
    if target.size is not None and storage is None:
        yield "target.size can't be counted: its analysis doesn't say how weights are stored."
        counted = target.model_copy(update={"size": None})
    for met in statuses_of(counted, effect, structure, storage):
        if met.reached:
            continue
        said = target.said()
        asked = " and ".join(f"target.{name} ({said[name]})" for name in met.need.asked)
        wanted = met.need.in_units(met.need.amount)
        yield f"saves {met.need.text(met.saved)} where {asked} asks for {wanted:,}."


def constraint_violations(
    constraints: Constraints, effect: PlanEffect, structure: ModelStructure
) -> Iterator[str]:
    """Yield what is not kept of each constraint, with the layers that break it."""
    for name, layers in _breaking(constraints, effect, structure):
        if layers:
            where = IndexSet.of(layers)
            yield f"constraints.{name} is not kept in layer{'s' * (len(where) > 1)} {where}."
    if constraints.attention_share is not None:
        yield from _broken_share(constraints, constraints.attention_share, effect, structure)
    if constraints.uniform and effect.uneven:
        yield "constraints.uniform is not kept: the layers that stay differ in width."


def _breaking(
    constraints: Constraints, effect: PlanEffect, structure: ModelStructure
) -> Iterator[tuple[str, list[int]]]:
    """Yield every constraint that binds single layers, and the layers that break it."""
    had = structure.layers
    protected = set(constraints.protect_layers)
    floors = (constraints.min_attention_groups, constraints.min_mlp)
    gone = [_gone(layer, structure) for layer in effect.layers]
    yield "protect_layers", [at for at, cut in enumerate(gone) if at in protected and any(cut)]
    for kind, floor in zip(GROUP_TYPES, floors, strict=True):
        name = "min_attention_groups" if kind == "attention" else "min_mlp"
        kept = [len(layer.of(kind)) for layer in effect.layers]
        yield (
            name,
            [at for at, has in enumerate(kept) if has < min(floor, had[at].sublayer(kind).groups)],
        )
    ratio = Fraction(repr(constraints.max_layer_ratio))
    whole = [sum(layer.sublayer(kind).prunable for kind in GROUP_TYPES) for layer in had]
    yield "max_layer_ratio", [at for at, cut in enumerate(gone) if sum(cut) > ratio * whole[at]]
    for position, kind in enumerate(GROUP_TYPES):
        if constraints.only not in (None, kind):
            yield "only", [at for at, cut in enumerate(gone) if cut[position]]
    multiple = constraints.round_mlp
    yield "round_mlp", [at for at, layer in enumerate(effect.layers) if len(layer.mlp) % multiple]
    if constraints.whole_layers:
        yield "whole_layers", [at for at, cut in enumerate(gone) if sum(cut) not in (0, whole[at])]


def _broken_share(
    constraints: Constraints, share: float, effect: PlanEffect, structure: ModelStructure
) -> Iterator[str]:
    """Yield a sentence where another part of what goes is attention, by more than one unit."""
    gone = [_gone(layer, structure) for layer in effect.layers]
    attention = sum(cut[0] for cut in gone)
    wanted = math.ceil(Fraction(repr(share)) * effect.removed)
    unit = max(
        max(layer.attention.cost, layer.mlp.cost * constraints.round_mlp)
        for layer in structure.layers
    )
    if abs(attention - wanted) > unit * (len(structure.layers) if constraints.uniform else 1):
        found = attention / (effect.removed or 1)
        yield f"constraints.attention_share is {share}, and {found:.3f} of what goes is attention."


def _gone(layer: LayerEffect, structure: ModelStructure) -> tuple[int, int]:
    """The parameters that go, of the attention and of the MLP."""
    had = structure.layers[layer.layer_idx]
    attention, mlp = (
        (had.sublayer(kind).groups - len(layer.of(kind))) * had.sublayer(kind).cost
        for kind in GROUP_TYPES
    )
    return attention, mlp


_MEND = "change the pin or the layer, or plan again."


def contradictions(
    pins: SublayerPins, kind: GroupType, sublayer: SublayerStructure
) -> Iterator[tuple[str, str]]:
    """Yield (the wish to mend, what is wrong with it) for a sublayer of that kind."""
    groups = sublayer.groups
    keep, remove = pins.keep.resolved(groups), pins.remove.resolved(groups)
    if sublayer.fixed and (remove or (pins.width is not None and pins.width < groups)):
        yield ("remove" if remove else "width"), f"{unprunable_reason(kind)}; take it out."
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


def violations(
    plan: PrunePlan,
    effect: PlanEffect,
    structure: ModelStructure,
    traits: ModelTraits | None,
    storage: StoredWeights | None = None,
) -> Iterator[str]:
    """Yield a sentence for every wish that the plan's decisions don't keep."""
    if plan.target is not None:
        yield from budget_violations(plan.target, effect, structure, storage)
    yield from rule_violations(plan, effect, structure, traits)


def rule_violations(
    plan: PrunePlan, effect: PlanEffect, structure: ModelStructure, traits: ModelTraits | None
) -> Iterator[str]:
    """Yield the same of constraints and pins: of all that says how, and not how much."""
    if plan.target is not None:
        yield from constraint_violations(plan.target.constraints, effect, structure)
        runtime = plan.target.constraints.runtime
        if runtime is not None and traits is not None:
            for obstacle in obstacles(runtime, traits, structure, effect):
                yield f"constraints.runtime is not kept: {obstacle}"
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            groups = structure.layers[layer].sublayer(kind).groups
            kept = effect.layers[layer].of(kind)
            for what in _broken(pins.of(kind), kept, groups):
                yield f"pin.{layer}.{kind}.{what}"


def _broken(pins: SublayerPins, kept: IndexSet, groups: int) -> Iterator[str]:
    """Yield what of one sublayer's wishes is not kept."""
    if gone := pins.keep.resolved(groups) - kept:
        yield f"keep: {gone} is pinned to stay, and goes; {_MEND}"
    if left := pins.remove.resolved(groups) & kept:
        yield f"remove: {left} is pinned to go, and stays; {_MEND}"
    if pins.width is not None and len(kept) != pins.width:
        yield f"width: {pins.width} are pinned to stay, {len(kept)} do; {_MEND}"
