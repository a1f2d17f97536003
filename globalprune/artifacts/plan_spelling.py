"""A plan as YAML text: a layer a line, sets of indices in quotes, decisions last."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from globalprune.artifacts.groups import GROUP_TYPES
from globalprune.artifacts.index_ranges import ALL, IndexRanges
from globalprune.artifacts.prune_plan import LayerPins, PrunePlan

_WIDTH = 96  # ruamel folds behind the word that crosses it


def spell_plan(plan: PrunePlan) -> str:
    """The plan without any comment; equal plans are spelled alike."""
    document = CommentedMap(plan.model_dump(mode="json", exclude_none=True))
    if plan.target:
        document["target"] = _flow(plan.target.model_dump(exclude_defaults=True))
    document["pin"] = CommentedMap((layer, _flow(_pins(pin))) for layer, pin in plan.pin.items())
    if not plan.pin:
        del document["pin"]
    layers = CommentedMap()
    for layer, cuts in plan.layers.items():
        halves = {kind: _ranges(cuts.of(kind)) for kind in GROUP_TYPES if cuts.of(kind)}
        layers[layer] = _flow(halves)
    document["layers"] = layers or _flow({})
    yaml = YAML()
    yaml.width = _WIDTH
    text = StringIO()
    yaml.dump(document, text)
    return text.getvalue()


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


def _ranges(ranges: IndexRanges) -> str:
    """The indices as a person writes them; `all` needs no quotes."""
    text = str(ranges)
    return text if text in (ALL, "") else DoubleQuotedScalarString(text)


def _flow(value: Any) -> Any:
    """The value in {}, nested mappings too; long text stays on its line."""
    if not isinstance(value, dict):
        return value
    mapping = CommentedMap((key, _flow(inner)) for key, inner in value.items())
    mapping.fa.set_flow_style()
    return mapping
