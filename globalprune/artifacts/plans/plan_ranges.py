"""The layers and indices of a plan's document that a structure doesn't have.

It walks what a person wrote, not a validated plan, so that both kinds of problems show together.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from globalprune.artifacts.groups import GROUP_TYPES, GroupType, HalfStructure, ModelStructure
from globalprune.artifacts.plans.fixed_halves import why_fixed
from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_wishes import contradictions
from globalprune.artifacts.plans.plan_yaml import BY_LAYER, Location, Problem, line_of, spelled
from globalprune.artifacts.plans.prune_plan import HalfPins, layer_key


def range_problems(document: CommentedMap, structure: ModelStructure) -> list[Problem]:
    """Every layer and index that the structure lacks, pins too; bad spelling is passed by."""
    problems: list[Problem] = []
    for top in BY_LAYER:
        for key, index, layer in _layers(document, top):
            problems += _layer_problems(document, (top, key), index, layer, structure)
    if _nothing_stays(document, structure):
        what = "the plan leaves no layer: every group of every layer goes; keep some of them."
        problems.append(Problem(line_of(document, ("layers",)), f"layers: {what}"))
    return problems


def _layers(document: CommentedMap, top: str) -> Iterator[tuple[Any, int, dict[Any, Any]]]:
    """Yield the layers that are named properly: the key as it stands, its number, what it holds."""
    layers = document.get(top)
    for key, layer in layers.items() if isinstance(layers, dict) else ():
        try:
            yield key, layer_key(key), layer if isinstance(layer, dict) else {}
        except ValueError:
            continue  # shape_problems says so


def _layer_problems(
    document: CommentedMap,
    location: Location,
    index: int,
    layer: dict[Any, Any],
    structure: ModelStructure,
) -> Iterator[Problem]:
    """Yield what one layer names and the structure doesn't have."""
    count = len(structure.layers)
    if index >= count:
        what = f"{spelled(location)}the model has {count} layers, 0 to {count - 1}; take it out."
        yield Problem(line_of(document, location), what)
        return
    for kind in GROUP_TYPES:
        half, had = layer.get(kind), structure.layers[index].half(kind)
        groups = had.groups
        pins = half if isinstance(half, dict) else {}
        named: list[tuple[str, Any]] = []
        if location[0] == "layers" and had.fixed and half is not None:
            where = (*location, kind)
            what = f"{spelled(where)}{why_fixed(kind)}; take it out."
            yield Problem(line_of(document, where), what)
        elif location[0] == "layers":
            named.append((kind, half))
        named += [(f"{kind}.{wish}", pins.get(wish)) for wish in ("keep", "remove")]
        for name, value in named:
            where = (*location, *name.split("."))
            for what in _outside(value, groups):
                yield Problem(line_of(document, where), f"{spelled(where)}{what}")
        width = pins.get("width")
        if isinstance(width, int) and width > groups:
            where = (*location, kind, "width")
            what = f"{spelled(where)}{width} is more than the {groups} there are; write less."
            yield Problem(line_of(document, where), what)
        yield from _contradictions(document, location, kind, pins, had)


def _contradictions(
    document: CommentedMap,
    location: Location,
    kind: GroupType,
    pins: dict[str, Any],
    had: HalfStructure,
) -> Iterator[Problem]:
    """Yield where the wishes for one half contradict each other."""
    try:
        half = HalfPins.model_validate(pins)
    except ValidationError:
        return  # shape_problems says so
    for wish, what in contradictions(half, kind, had):
        where = (*location, kind, wish)
        is_said_above = wish == "width" and half.width is not None and half.width > had.groups
        if not is_said_above:
            yield Problem(line_of(document, where), f"{spelled(where)}{what}")


def _outside(value: Any, groups: int) -> Iterator[str]:
    """Yield one complaint that names the indices outside of 0 … groups - 1."""
    try:
        ranges = IndexRanges.parse(value)
    except ValueError:
        return  # spelled wrongly, or not there: shape_problems says so
    outside = [(max(first, groups), last) for first, last in ranges.ranges if last >= groups]
    if outside:
        there = f"there are {groups} groups, 0 to {groups - 1}" if groups else "there are no groups"
        yield f"{IndexRanges(tuple(outside))} is out of range: {there}; take it out."


def _nothing_stays(document: CommentedMap, structure: ModelStructure) -> bool:
    """Whether every group of every layer goes."""
    said = {index: layer for _, index, layer in _layers(document, "layers")}
    return all(
        not half.groups or (not half.fixed and _covers(said.get(index, {}).get(kind), half.groups))
        for index, kind, half in structure.halves()
    )


def _covers(value: Any, groups: int) -> bool:
    """Whether the set names all of so many groups."""
    try:
        ranges = IndexRanges.parse(value)
    except ValueError:
        return False
    first, last = ranges.ranges[0] if ranges.ranges else (0, -1)
    return ranges.everything or (first == 0 and last >= groups - 1)
