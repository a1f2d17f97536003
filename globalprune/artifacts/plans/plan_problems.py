"""All that is wrong with a plan's document before any model is known.

Each problem has its line and what to do about it.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from globalprune.artifacts.file_format import format_problem
from globalprune.artifacts.plans.plan_constraints import Constraints
from globalprune.artifacts.plans.plan_target import Target
from globalprune.artifacts.plans.plan_yaml import BY_LAYER, Location, Problem, line_of, spelled
from globalprune.artifacts.plans.prune_plan import (
    PLAN_FORMAT,
    AnalysisReference,
    HalfPins,
    LayerCuts,
    LayerPins,
    ModelReference,
    PrunePlan,
    layer_key,
)
from globalprune.artifacts.record import Record
from globalprune.errors import PlanVersion

_INDICES = re.compile(r"\d+(\s*-\s*\d+)?")
_MODELS: dict[Location, type[Record]] = {
    (): PrunePlan,
    ("model",): ModelReference,
    ("analysis",): AnalysisReference,
    ("target",): Target,
    ("target", "constraints"): Constraints,
    ("pin", "N"): LayerPins,
    ("pin", "N", "attention"): HalfPins,
    ("pin", "N", "mlp"): HalfPins,
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
