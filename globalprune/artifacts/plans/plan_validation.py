"""Every problem of a plan document, each with its line and what to do.

`validate_shape` needs no model: keys, types, spelling. `range_problems` finds layers and indices
that a structure does not have. Both walk the document, so that all problems show at once.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

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
from globalprune.artifacts.plans.plan_yaml import (
    BY_LAYER,
    LinedDict,
    Location,
    Problem,
    line_of,
    problem_at,
)
from globalprune.artifacts.records import Record, format_problem
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    ModelStructure,
    SublayerStructure,
    unprunable_reason,
)
from globalprune.errors import PlanStale, PlanVersion

_INDICES: Final = re.compile(r"\d+(\s*-\s*\d+)?")
_MODELS: Final[dict[Location, type[Record]]] = {
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


def refuse_other_format(path: Path, document: LinedDict) -> None:
    """Raise `PlanVersion` for a plan of another format: nothing else in it can be judged."""
    again = "make the plan again with gp plan"
    if problem := format_problem(document, PLAN_FORMAT, again):
        raise PlanVersion(f"{path}: {problem}")


def validate_shape(document: LinedDict) -> tuple[PrunePlan | None, list[Problem]]:
    """Return the plan, if its keys and values are valid, and all that is wrong without a model."""
    problems = [*_below_layers(document), *_repeated_layers(document)]
    try:
        return PrunePlan.model_validate(document), problems
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            location = tuple(part for part in detail["loc"] if part != "[key]")
            problems.append(problem_at(document, location, _complaint(detail, location)))
    return None, problems


def refuse_stale(
    path: str, plan: PrunePlan, fingerprint: str | None, structure: ModelStructure
) -> None:
    """Raise `PlanStale` for a plan that names the fingerprint of another structure."""
    if fingerprint in (None, structure.fingerprint):
        return
    source = plan.model.source if plan.model else "another model"
    raise PlanStale(
        f"{path}: was made for {source}, whose structure is {fingerprint}; this one has "
        f"{structure.fingerprint}. Use the model and the analysis that it was made from "
        "(a model that was cut has another structure), or make a plan for this one."
    )


def range_problems(document: LinedDict, structure: ModelStructure) -> list[Problem]:
    """Return a problem for every layer and index, pinned ones too, that the structure lacks.

    Values that are spelled wrongly are left to `validate_shape`.
    """
    problems: list[Problem] = []
    for top in BY_LAYER:
        for key, index, layer in _layers(document, top):
            problems += _layer_problems(document, (top, key), index, layer, structure)
    if _nothing_stays(document, structure):
        what = "the plan leaves no layer: every group of every layer goes; keep some of them."
        problems.append(problem_at(document, ("layers",), what))
    return problems


def _below_layers(document: LinedDict) -> Iterator[Problem]:
    """Yield the keys below `layers`, which is last so that a file cut short loses no other key."""
    keys = list(document)
    below = keys[keys.index("layers") + 1 :] if "layers" in keys else []
    for key in below:
        if key in PrunePlan.model_fields:
            what = "stands below layers, which is the last key; move it above."
            yield problem_at(document, (key,), what)


def _repeated_layers(document: LinedDict) -> Iterator[Problem]:
    """Yield the layers that stand there both as a number and in quotes."""
    for top in BY_LAYER:
        lines: dict[int, int] = {}
        for key, index, _ in _layers(document, top):
            line = line_of(document, (top, key))
            if index in lines:
                first = f"first in line {lines[index]}"
                yield problem_at(
                    document, (top, key), f"stands here again ({first}); keep one of the two."
                )
            lines.setdefault(index, line)


def _complaint(detail: Mapping[str, Any], location: Location) -> str:
    """Describe an error of pydantic, and what to do about it."""
    model = _MODELS.get(_pattern(location))
    match detail["type"]:
        case "missing":
            empty = " (`layers: {}` removes nothing)" if location == ("layers",) else ""
            return f"is missing; add it{empty}."
        case "extra_forbidden" | "invalid_key":
            return f"is no key that a plan knows; {_suggestion(location)}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "model_type" | "dict_type" if location[:1] in {("layers",), ("pin",)}:
            what = "a mapping of layers" if model is None else f"a mapping with {_keys(model)}"
            value = "null" if detail["input"] is None else repr(detail["input"])
            return f"{value} is not {what}; write {{}} for nothing."
        case kind:
            message = str(detail["msg"]).removeprefix("Input ")
            should = "should be true or false" if kind == "bool_type" else message
            return f"{detail['input']!r} {should}; write such a value."


def _suggestion(location: Location) -> str:
    """Return what the unknown key at the end of the location should have been."""
    *_, key = map(str, location)
    if _INDICES.fullmatch(key):  # the rest of {mlp: 4, 17-31}
        return 'if it is an index, put all of them in quotes: "4, 17-31".'
    known = list(_MODELS[_pattern(location[:-1])].model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}."


def _keys(model: type[Record]) -> str:
    """Return the keys of a mapping in words."""
    *first, last = model.model_fields
    return f"{', '.join(first)} and/or {last}"


def _pattern(location: Location) -> Location:
    """Return the location with every layer as N."""
    if len(location) > 1 and location[0] in BY_LAYER:
        return (location[0], "N", *location[2:])
    return location


def _layers(document: LinedDict, top: str) -> Iterator[tuple[Any, int, dict[Any, Any]]]:
    """Yield the layers whose key is a number: the key, the number, and the mapping behind it."""
    layers = document.get(top)
    for key, layer in layers.items() if isinstance(layers, dict) else ():
        try:
            yield key, layer_key(key), layer if isinstance(layer, dict) else {}
        except ValueError:
            continue


def _layer_problems(
    document: LinedDict,
    location: Location,
    index: int,
    layer: dict[Any, Any],
    structure: ModelStructure,
) -> Iterator[Problem]:
    """Yield what one layer names and the structure doesn't have; `location` is the layer's."""
    count = len(structure.layers)
    if index >= count:
        what = f"the model has {count} layers, 0 to {count - 1}; take it out."
        yield problem_at(document, location, what)
        return
    for kind in GROUP_TYPES:
        sublayer, value = structure.layers[index].sublayer(kind), layer.get(kind)
        where = (*location, kind)
        if location[0] == "pin":
            pins = value if isinstance(value, dict) else {}
            yield from _pin_problems(document, where, pins, kind, sublayer)
        elif sublayer.fixed and value is not None:
            yield problem_at(document, where, f"{unprunable_reason(kind, sublayer)}; take it out.")
        else:
            yield from _outside(document, where, value, sublayer.groups)


def _pin_problems(
    document: LinedDict,
    location: Location,
    pins: dict[Any, Any],
    kind: GroupType,
    sublayer: SublayerStructure,
) -> Iterator[Problem]:
    """Yield what the pins of one sublayer name and it doesn't have, and how they contradict."""
    for pin in ("keep", "remove"):
        yield from _outside(document, (*location, pin), pins.get(pin), sublayer.groups)
    width = pins.get("width")
    too_wide = isinstance(width, int) and width > sublayer.groups
    if too_wide:
        what = f"{width} is more than the {sublayer.groups} there are; write less."
        yield problem_at(document, (*location, "width"), what)
    try:
        parsed = SublayerPins.model_validate(pins)
    except ValidationError:
        return
    for pin, what in contradictions(parsed, kind, sublayer):
        if not (too_wide and pin == "width"):
            yield problem_at(document, (*location, pin), what)


def _outside(document: LinedDict, location: Location, value: Any, groups: int) -> Iterator[Problem]:
    """Yield one problem that names the indices of a set outside of 0 … groups - 1."""
    try:
        indices = IndexSet.parse(value)
    except ValueError:
        return
    outside = [(max(first, groups), last) for first, last in indices.ranges if last >= groups]
    if outside:
        there = f"there are {groups} groups, 0 to {groups - 1}" if groups else "there are no groups"
        what = f"{IndexSet(tuple(outside))} is out of range: {there}; take it out."
        yield problem_at(document, location, what)


def _nothing_stays(document: LinedDict, structure: ModelStructure) -> bool:
    """Return whether every group of every layer goes."""
    cuts = {index: layer for _, index, layer in _layers(document, "layers")}
    return all(
        not sublayer.groups
        or (not sublayer.fixed and _covers(cuts.get(index, {}).get(kind), sublayer.groups))
        for index, kind, sublayer in structure.sublayers()
    )


def _covers(value: Any, groups: int) -> bool:
    """Return whether a set names all of so many groups."""
    try:
        indices = IndexSet.parse(value)
    except ValueError:
        return False
    return not indices.complement(groups)
