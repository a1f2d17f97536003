"""Where the decisions of a plan break what a person pinned or asked for.

A hand edit is honoured all the same: these are notes, never refusals.
"""

from collections.abc import Iterator

from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure
from globalprune.artifacts.plan_effect import PlanEffect
from globalprune.artifacts.prune_plan import PrunePlan


def broken_wishes(plan: PrunePlan, effect: PlanEffect, structure: ModelStructure) -> Iterator[str]:
    """Yield a sentence for every wish that the plan doesn't keep."""
    if plan.target is not None and effect.ratio < plan.target.ratio:
        asked = plan.target.ratio
        yield f"removes {100 * effect.ratio:.2f} % where target.ratio says {100 * asked:.2f} %."
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            pin, kept = pins.of(kind), effect.layers[layer].of(kind)
            groups = structure.layers[layer].half(kind).groups
            gone = set(pin.keep.resolve(groups)) - set(kept)
            left = set(pin.remove.resolve(groups)) & set(kept)
            if gone:
                yield f"pin.{layer}.{kind}.keep: {min(gone)} is pinned to stay, and goes."
            if left:
                yield f"pin.{layer}.{kind}.remove: {min(left)} is pinned to go, and stays."
            if pin.width is not None and len(kept) != pin.width:
                yield f"pin.{layer}.{kind}.width: {pin.width} are pinned to stay, {len(kept)} do."
