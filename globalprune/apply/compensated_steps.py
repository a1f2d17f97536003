"""Which steps of a cut change when compensation solves and refits weights anew. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from globalprune.apply.facts import HalfFacts, ModelFacts
from globalprune.apply.steps import (
    KeepTensor,
    RefitTensor,
    SliceTensor,
    SolveTensor,
    Step,
)
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.results.compensation import SolvedPart
from globalprune.artifacts.structure import GROUP_TYPES, GroupType

_Part = tuple[GroupType, SolvedPart]
_GATING: Final[dict[int, tuple[SolvedPart, ...]]] = {  # what so many tensors are
    0: (),
    1: ("gate_up",),
    2: ("gate", "up"),
}


def compensated(
    steps: Sequence[Step], facts: ModelFacts, effect: PlanEffect, *, gates: bool
) -> tuple[Step, ...]:
    """The same steps, with weights solved anew wherever something was cut in the half or before it.

    Those are output projections, and with `gates` also gate and up of MLPs. A half that still sees
    the stream which it always saw, and lost nothing, stays bit for bit; so does the final norm
    where nothing is cut at all.
    """
    solved = dict(_solved(facts, effect, gates=gates))
    refitted = facts.final_norm if effect.removed else None
    return tuple(_changed(step, solved, refitted) for step in steps)


def _solved(facts: ModelFacts, effect: PlanEffect, *, gates: bool) -> Iterator[tuple[str, _Part]]:
    """Yield the weights that are solved, with the kind of their half and what they are there."""
    begun = False
    for layer in effect.layers:
        prefix = facts.prefixes[layer.layer_idx]
        for group_type in GROUP_TYPES:
            half = facts.layers[layer.layer_idx].half(group_type)
            kept = layer.of(group_type)
            begun = begun or len(kept) < _groups(half, facts, prefix)
            if begun and kept and half.output is not None:
                yield prefix + half.output, (group_type, "output")
                if gates:
                    for name, part in zip(half.gating, _GATING[len(half.gating)], strict=True):
                        yield prefix + name, (group_type, part)


def _groups(half: HalfFacts, facts: ModelFacts, prefix: str) -> int:
    """How many groups a half has."""
    parts = {
        axis.first: axis.groups(facts.tensors[prefix + axis.tensor].shape) for axis in half.axes
    }
    return sum(parts.values())


def _changed(step: Step, solved: Mapping[str, _Part], refitted: str | None) -> Step:
    """The step that writes compensated weights, where there are such."""
    if not isinstance(step, KeepTensor | SliceTensor):
        return step
    if step.name == refitted:
        return RefitTensor(step.name, step.becomes, step.facts)
    part = solved.get(step.name)
    if part is None or step.layer is None:
        return step
    before = step.before if isinstance(step, SliceTensor) else step.facts
    return SolveTensor(step.layer, *part, step.name, step.becomes, before, step.facts)
