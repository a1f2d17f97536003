"""Every problem of a plan document, each with its line and what to do.

`shape_problems` needs no model: keys, types, spelling. `range_problems` finds layers and indices
that a structure does not have. Both walk the document, so all problems show at once.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import (
    PLAN_FORMAT,
    AnalysisReference,
    Constraints,
    LayerCuts,
    LayerPins,
    ModelReference,
    PrunePlan,
    SublayerPins,
    Target,
    layer_key,
)
from globalprune.artifacts.plans.plan_compliance import contradictions
from globalprune.artifacts.plans.plan_yaml import BY_LAYER, Location, Problem, line_of, spelled
from globalprune.artifacts.records import Record, format_problem
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    ModelStructure,
    SublayerStructure,
    unprunable_reason,
)
from globalprune.errors import PlanVersion

_INDICES = re.compile(r"\d+(\s*-\s*\d+)?")
_MODELS: dict[Location, type[Record]] = {
    (): PrunePlan,
    ("model",): ModelReference,
    ("analysis",): AnalysisReference,
    ("target",): Target,
    ("target", "constraints"): Constraints,
    ("pin", "N"): LayerPins,
    ("pin", "N", "attention"): SublayerPins,
    ("pin", "N", "mlp"): SublayerPins,
    ("layers", "N"): LayerCuts,
}


def refuse_other_format(path: Path, document: CommentedMap) -> None:
    """Raise `PlanVersion` for a plan of another format: nothing else in it can be judged."""
    again = "make the plan again with gp plan"
    if problem := format_problem(document, PLAN_FORMAT, again):
        raise PlanVersion(f"{path}: {problem}")


def shape_problems(document: CommentedMap) -> list[Problem]:
    """All that is wrong without knowing a model."""
    problems = [*_below_layers(document), *_repeated_layers(document)]
    try:
        PrunePlan.model_validate(document)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            location = tuple(part for part in found["loc"] if part != "[key]")
            text = f"{spelled(location)}{_complaint(found, location)}"
            problems.append(Problem(line_of(document, location), text))
    return problems


def _below_layers(document: CommentedMap) -> Iterator[Problem]:
    """Yield the keys below `layers`, which is last so that a file cut short loses no other key."""
    keys = list(document)
    below = keys[keys.index("layers") + 1 :] if "layers" in keys else []
    for key in below:
        if key in PrunePlan.model_fields:
            what = f"{key}: stands below layers, which is the last key; move it above."
            yield Problem(line_of(document, (key,)), what)


def _repeated_layers(document: CommentedMap) -> Iterator[Problem]:
    """Yield the layers that stand there both as a number and in quotes."""
    for top in BY_LAYER:
        layers = document.get(top)
        lines: dict[int, int] = {}
        for key in layers if isinstance(layers, dict) else ():
            try:
                index = layer_key(key)
            except ValueError:
                continue
            line = line_of(document, (top, key))
            if index in lines:
                what = f"{top}.{index}: stands here again (first in line {lines[index]}); "
                yield Problem(line, what + "keep one of the two.")
            lines.setdefault(index, line)


def _complaint(found: Mapping[str, Any], location: Location) -> str:
    """Say in our words what pydantic found, and what to do."""
    model = _MODELS.get(_pattern(location))
    match found["type"]:
        case "missing":
            empty = " (`layers: {}` removes nothing)" if location == ("layers",) else ""
            return f"is missing; add it{empty}."
        case "extra_forbidden" | "invalid_key":
            return f"is no key that a plan knows; {_meant(location)}"
        case "value_error":
            return str(found["ctx"]["error"])
        case "model_type" | "dict_type" if location[:1] in {("layers",), ("pin",)}:
            what = "a mapping of layers" if model is None else f"a mapping with {_keys(model)}"
            nothing = "null" if found["input"] is None else repr(found["input"])
            return f"{nothing} is not {what}; write {{}} for nothing."
        case kind:
            said = str(found["msg"]).removeprefix("Input ")
            should = "should be true or false" if kind == "bool_type" else said
            return f"{found['input']!r} {should}; write such a value."


def _meant(location: Location) -> str:
    """What the unknown key at the end of the location should have been."""
    *_, key = map(str, location)
    if _INDICES.fullmatch(key):  # the rest of {mlp: 4, 17-31}
        return 'if it is an index, put all of them in quotes: "4, 17-31".'
    known = list(_MODELS[_pattern(location[:-1])].model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}."


def _keys(model: type[Record]) -> str:
    """The keys of a mapping in words."""
    *first, last = model.model_fields
    return f"{', '.join(first)} and/or {last}"


def _pattern(location: Location) -> Location:
    """The location with every layer as N."""
    if len(location) > 1 and location[0] in BY_LAYER:
        return (location[0], "N", *location[2:])
    return location


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
        sublayer, had = layer.get(kind), structure.layers[index].sublayer(kind)
        groups = had.groups
        pins = sublayer if isinstance(sublayer, dict) else {}
        named: list[tuple[str, Any]] = []
        if location[0] == "layers" and had.fixed and sublayer is not None:
            where = (*location, kind)
            what = f"{spelled(where)}{unprunable_reason(kind)}; take it out."
            yield Problem(line_of(document, where), what)
        elif location[0] == "layers":
            named.append((kind, sublayer))
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
    had: SublayerStructure,
) -> Iterator[Problem]:
    """Yield where the wishes for one sublayer contradict each other."""
    try:
        sublayer = SublayerPins.model_validate(pins)
    except ValidationError:
        return  # shape_problems says so
    for wish, what in contradictions(sublayer, kind, had):
        where = (*location, kind, wish)
        is_said_above = (
            wish == "width" and sublayer.width is not None and sublayer.width > had.groups
        )
        if not is_said_above:
            yield Problem(line_of(document, where), f"{spelled(where)}{what}")


def _outside(value: Any, groups: int) -> Iterator[str]:
    """Yield one complaint that names the indices outside of 0 … groups - 1."""
    try:
        ranges = IndexSet.parse(value)
    except ValueError:
        return  # spelled wrongly, or not there: shape_problems says so
    outside = [(max(first, groups), last) for first, last in ranges.ranges if last >= groups]
    if outside:
        there = f"there are {groups} groups, 0 to {groups - 1}" if groups else "there are no groups"
        yield f"{IndexSet(tuple(outside))} is out of range: {there}; take it out."


def _nothing_stays(document: CommentedMap, structure: ModelStructure) -> bool:
    """Whether every group of every layer goes."""
    said = {index: layer for _, index, layer in _layers(document, "layers")}
    return all(
        not sublayer.groups
        or (not sublayer.fixed and _covers(said.get(index, {}).get(kind), sublayer.groups))
        for index, kind, sublayer in structure.sublayers()
    )


def _covers(value: Any, groups: int) -> bool:
    """Whether the set names all of so many groups."""
    try:
        ranges = IndexSet.parse(value)
    except ValueError:
        return False
    first, last = ranges.ranges[0] if ranges.ranges else (0, -1)
    return ranges.everything or (first == 0 and last >= groups - 1)
