"""What a plan removes, in one line for people."""

from globalprune.artifacts.groups import GroupType
from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_effect import PlanEffect

_NAMES: dict[GroupType, tuple[str, str]] = {
    "attention": ("attention group", "attention groups"),
    "mlp": ("mlp channel", "mlp channels"),
}


def removal_text(effect: PlanEffect) -> str:
    """`removes 26,903,232 of 134,515,008 parameters (20.00 %): 4 attention groups, 1 layer`."""
    counts = [
        _counted(number, *_NAMES[kind]) for kind, number in effect.removed_groups.items() if number
    ]
    if effect.dropped_layers:
        numbers = str(IndexRanges.of(effect.dropped_layers))
        counts.append(f"{_counted(len(effect.dropped_layers), 'layer', 'layers')} ({numbers})")
    share = f"{100 * effect.ratio:.2f} %"
    return (
        f"removes {effect.removed:,} of {effect.parameters_before:,} parameters ({share}): "
        f"{', '.join(counts) or 'nothing'}"
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
