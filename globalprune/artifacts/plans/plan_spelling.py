"""A plan as YAML text: a layer a line, sets of indices in quotes, decisions last."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from globalprune.artifacts.groups import GROUP_TYPES
from globalprune.artifacts.plans.index_ranges import ALL, IndexRanges
from globalprune.artifacts.plans.plan_long_text import LongTexts
from globalprune.artifacts.plans.plan_target import Target
from globalprune.artifacts.plans.prune_plan import LayerPins, PrunePlan

_WIDTH = 96  # ruamel folds behind the word that crosses it


def spell_plan(plan: PrunePlan) -> str:
    """The plan without any comment; equal plans are spelled alike."""
    document = CommentedMap(plan.model_dump(mode="json", exclude_none=True, exclude={"layers"}))
    if plan.target:
        document["target"] = _flow(_target(plan.target))
    document["pin"] = CommentedMap((layer, _flow(_pins(pin))) for layer, pin in plan.pin.items())
    if not plan.pin:
        del document["pin"]
    layers = CommentedMap()
    long = LongTexts()
    for layer, cuts in plan.layers.items():
        halves = {kind: _ranges(cuts.of(kind), long) for kind in GROUP_TYPES if cuts.of(kind)}
        layers[layer] = _flow(halves)
    document["layers"] = layers or _flow({})
    yaml = YAML()
    yaml.width = _WIDTH
    text = StringIO()
    yaml.dump(document, text)
    return long.restore(text.getvalue())


def _target(target: Target) -> dict[str, Any]:
    """What was asked for; constraints that say nothing are left out."""
    said = target.constraints.said()
    if target.constraints.protect_layers:
        said["protect_layers"] = _ranges(target.constraints.protect_layers)
    others: dict[str, Any] = {"within": list(target.within)} if target.within else {}
    if target.strategy != "knapsack":
        others["strategy"] = target.strategy
    if target.machine is not None:
        others["machine"] = target.machine.model_dump()
    return {**target.said(), **others, **({"constraints": said} if said else {})}


def _pins(pins: LayerPins) -> dict[str, Any]:
    """The wishes for a layer, without those that say nothing."""
    spelled: dict[str, Any] = {}
    for kind in GROUP_TYPES:
        half = pins.of(kind)
        said = {name: _ranges(getattr(half, name)) for name in ("keep", "remove")}
        wishes: dict[str, Any] = {name: ranges for name, ranges in said.items() if ranges}
        if half.width is not None:
            wishes["width"] = half.width
        if wishes:
            spelled[kind] = wishes
    return spelled


def _ranges(ranges: IndexRanges, long: LongTexts | None = None) -> str:
    """The indices as a person writes them; `all` needs no quotes."""
    text = str(ranges)
    if long is not None:
        text = long.mark_for(text)
    return text if text in (ALL, "") else DoubleQuotedScalarString(text)


def _flow(value: Any) -> Any:
    """The value in {}, nested mappings too; long text stays on its line."""
    if not isinstance(value, dict):
        return value
    mapping = CommentedMap((key, _flow(inner)) for key, inner in value.items())
    mapping.fa.set_flow_style()
    return mapping
