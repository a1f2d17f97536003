"""What was asked of a plan, in words: budgets, constraints, and the pins of single layers."""

from collections.abc import Iterator
from typing import Any

from globalprune.artifacts.plans.plan import HalfPins, PrunePlan, Target
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.report.drawing import NAMES


def asked_facts(plan: PrunePlan) -> Iterator[tuple[str, str]]:
    """Yield what is in `target`, and in `pin`."""
    if plan.target is not None:
        yield from _target(plan.target)
    if not plan.remove_empty_layers:
        yield "layers that lose everything", "stay as they are passed through"
    if plan.pin:
        yield "pins", "\n".join(_pins(plan))


def _target(target: Target) -> Iterator[tuple[str, str]]:
    """Yield budgets and constraints as a plan spells them."""
    yield "asked", _spelled(target.said())
    if target.constraints:
        yield "constraints", _spelled(target.constraints.said())
    if target.within:
        yield "within plans of", ", ".join(f"{ratio:g}" for ratio in target.within)
    if target.strategy != "knapsack":
        yield "strategy", target.strategy
    if target.machine is not None:
        yield "latencies", target.machine.record


def _spelled(said: dict[str, Any]) -> str:
    """`ratio 0.2, dtype bfloat16`."""
    return ", ".join(f"{name} {_value(value)}" for name, value in said.items())


def _value(value: Any) -> str:
    """Integers with commas, anything else as YAML has it."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _pins(plan: PrunePlan) -> Iterator[str]:
    """Yield a line for every half with a wish."""
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            if pins.of(kind):
                yield f"layer {layer} {NAMES[kind]}: {_wishes(pins.of(kind))}"


def _wishes(pins: HalfPins) -> str:
    """`keep 0; width 1,024`."""
    said = [
        f"{name} {ranges}" for name, ranges in (("keep", pins.keep), ("remove", pins.remove))
        if ranges
    ]  # fmt: skip
    if pins.width is not None:
        said.append(f"width {pins.width:,}")
    return "; ".join(said)
