"""plan.yaml as text: parsed with the line of every key, and written one layer per line.

PyYAML's C parser finds the structure of the text; its scalars are read here by YAML 1.2, so that
`on` and `1:30` are words. A repeated key is a problem, and a value with a tag fits nowhere.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from yaml.error import Mark, MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import LayerPins, PrunePlan, Target
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import PlanInvalid

BY_LAYER: Final = ("pin", "layers")  # the mappings whose keys are layers
Location = tuple[int | str, ...]  # the keys that lead to a value
_REMEDY: Final = (
    "see that quotes and braces close; a long value goes on over several lines, which belong "
    "together."
)
_BEGIN: Final = "a plan is a mapping that starts with `format: globalprune.plan/1`"
_LINE_WIDTH: Final = 96  # a written line is folded behind the word that crosses it
_DEEPEST: Final = 50  # levels
# a PyYAML that was built without libyaml has the slower classes alone
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# plain scalars by YAML 1.2's core schema: https://yaml.org/spec/1.2.2/#1032-tag-resolution
_WORDS: Final[dict[str, bool | float | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TYPES: Final = {"int": int, "float": float, "bool": bool, "null": type(None)}


class Problem(NamedTuple):
    """One thing to mend; sorts by line."""

    line: int
    text: str


class LinedDict(dict[Any, Any]):
    """A mapping of a YAML file; `lines` holds the line of each key, counted from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Any, int] = {}


@dataclass(frozen=True)
class Tagged:
    """A value with a tag that YAML's core schema lacks."""

    tag: str
    value: Any

    def __repr__(self) -> str:
        return f"{self.tag} {self.value}"


def read_content(path: Path) -> bytes:
    """Read a plan file; raise `PlanInvalid` where it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"can't be read ({error.strerror}); name a file that gp plan wrote."
        raise PlanInvalid(str(path), [what]) from error


def load_document(path: Path, content: bytes) -> tuple[LinedDict, list[Problem]]:
    """Parse the content of a plan file: its mapping, and a problem for every repeated key.

    Sets of indices are `IndexSet` already where they are spelled well. Raise `PlanInvalid` for what
    is no YAML mapping.
    """
    text = _decode(path, content)
    composer = _Composer(text)
    try:
        document = composer.document()
    except MarkedYAMLError as error:
        last = len(f"{text}.".splitlines())  # an end without a newline is placed behind it
        line = min(error.problem_mark.line + 1, last) if error.problem_mark else 1
        what = error.problem or error.context or "can't be parsed"
        raise PlanInvalid(str(path), [f"line {line}: is not YAML ({what}); {_REMEDY}"]) from error
    except (YAMLError, ValueError) as error:  # a number of thousands of digits
        what = error.reason if isinstance(error, ReaderError) else error
        raise PlanInvalid(str(path), [f"is not YAML ({what}); {_REMEDY}"]) from error
    if document is None:
        raise PlanInvalid(str(path), [f"the file is empty; {_BEGIN}."])
    if not isinstance(document, LinedDict):
        kind = "a list" if isinstance(document, list) else "a single value"
        raise PlanInvalid(str(path), [f"the file holds {kind} at the top; {_BEGIN}."])
    _parse_index_sets(document)
    return document, composer.repeated


def line_of(document: LinedDict, location: Location) -> int:
    """Return the line of the key at a location, or of the nearest mapping around it."""
    line = 1
    current: Any = document
    for part in location:
        if not isinstance(current, LinedDict) or part not in current:
            break
        line = current.lines.get(part, line)  # a merged key has no line
        current = current[part]
    return line


def problem_at(document: LinedDict, location: Location, what: str) -> Problem:
    """Return what is wrong with the value at a location, as a problem with its line."""
    return Problem(line_of(document, location), format_location(location) + what)


def format_location(location: Location) -> str:
    """Spell the way to a value: `layers.3.mlp: `."""
    return ".".join(map(str, location)) + ": " if location else ""


def format_plan(plan: PrunePlan) -> str:
    """Spell a plan without any comment; equal plans are spelled alike."""
    document = plan.model_dump(mode="json", exclude_none=True, exclude={"layers"})
    if plan.target:
        document["target"] = _flow(_target_fields(plan.target))
    document["pin"] = {layer: _flow(_pin_fields(pins)) for layer, pins in plan.pin.items()}
    if not plan.pin:
        del document["pin"]
    layers = {
        layer: _flow({kind: cuts.of(kind) for kind in GROUP_TYPES if cuts.of(kind)})
        for layer, cuts in plan.layers.items()
    }
    document["layers"] = layers or _flow({})
    text: str = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_LINE_WIDTH,
        default_flow_style=False,
    )
    return text


class _Composer:
    """Builds the value of a document from the parser's events."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Event] = yaml.parse(text, Loader=_Loader)
        self._anchors: dict[str, Any] = {}
        self.repeated: list[Problem] = []

    def document(self) -> Any:
        """Return the value of the only document; None where there is none."""
        next(self._events)
        if isinstance(next(self._events), StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, StreamEndEvent):
            raise _error("but found another document", after.start_mark)
        return value

    def _value(self, event: Event, location: Location) -> Any:
        """Return the value that begins with an event."""
        if len(location) > _DEEPEST:
            raise _error(f"is nested deeper than {_DEEPEST} levels", event.start_mark)
        value: Any
        match event:
            case AliasEvent():
                if event.anchor not in self._anchors:
                    raise _error(f"found undefined alias {event.anchor!r}", event.start_mark)
                return self._anchors[event.anchor]
            case ScalarEvent():
                value = _scalar(event)
            case SequenceStartEvent():
                value = _tagged(event.tag, "seq", self._sequence(location))
            case MappingStartEvent():
                value = _tagged(event.tag, "map", self._mapping(location))
            case _:  # the parser yields no other event here
                raise _error("can't be parsed", event.start_mark)
        if event.anchor is not None:  # known from here on: nothing can hold itself
            self._anchors[event.anchor] = value
        return value

    def _sequence(self, location: Location) -> list[Any]:
        """Return the items up to the end of a sequence."""
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._value(event, (*location, len(items))))
        return items

    def _mapping(self, location: Location) -> LinedDict:
        """Return the keys up to the end of a mapping; of repeated ones the first counts."""
        mapping, merged = LinedDict(), LinedDict()
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, location)
            line, name = event.start_mark.line + 1, getattr(event, "value", key)
            value = self._value(next(self._events), (*location, name))
            if _is_merge(event) and (parts := _merge_parts(value)) is not None:
                for part in parts:
                    merged.update((one, inner) for one, inner in part.items() if one not in merged)
            elif key in mapping:
                first = mapping.lines[key]
                what = f"stands here again (first in line {first}); keep one of the two."
                self.repeated.append(Problem(line, format_location((*location, name)) + what))
            else:
                mapping[key] = value
                mapping.lines[key] = line
        for key, value in merged.items():
            mapping.setdefault(key, value)
        return mapping

    def _key(self, event: Event, location: Location) -> Any:
        """Return the key that begins with an event; anything but a scalar is refused."""
        key = self._value(event, location) if isinstance(event, AliasEvent | ScalarEvent) else []
        if isinstance(key, list | dict):
            raise _error("a key is a list or a mapping", event.start_mark)
        return key


def _error(what: str, mark: Mark) -> MarkedYAMLError:
    """An error at a place of the text."""
    return MarkedYAMLError(problem=what, problem_mark=mark)


def _scalar(event: ScalarEvent) -> Any:
    """Return the value of a scalar by YAML 1.2; `!!int 3` is one too."""
    text: str = event.value
    if event.tag is None:
        return _plain(text) if event.implicit[0] else text
    name = event.tag.removeprefix(_TAG)
    if name in ("!", "str"):
        return text
    value = _plain(text)
    is_core = event.tag == _TAG + name and type(value) is _SCALAR_TYPES.get(name)
    return value if is_core else _tagged(event.tag, "", text)


def _plain(text: str) -> Any:
    """Return the value of a scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _tagged(tag: str | None, own: str, value: Any) -> Any:
    """Return the value, with its tag unless that is its own."""
    if tag in (None, "!", _TAG + own):
        return value
    return Tagged(tag.replace(_TAG, "!!"), value)


def _is_merge(key: Event) -> bool:
    """Return whether a key is `<<`, not in quotes."""
    return isinstance(key, ScalarEvent) and key.value == "<<" and bool(key.implicit[0])


def _merge_parts(value: Any) -> list[LinedDict] | None:
    """Return the mappings behind `<<`; None where there is anything else."""
    parts = value if isinstance(value, list) else [value]
    return parts if all(isinstance(part, LinedDict) for part in parts) else None


def _parse_index_sets(document: LinedDict) -> None:
    """Put an `IndexSet` in place of every text below a layer that spells one."""
    for top in BY_LAYER:
        layers = document.get(top)
        for layer in layers.values() if isinstance(layers, LinedDict) else ():
            for kind in GROUP_TYPES if isinstance(layer, LinedDict) else ():
                pins = layer.get(kind)
                if top == "layers":
                    _parse_value(layer, kind)
                elif isinstance(pins, LinedDict):
                    _parse_value(pins, "keep")
                    _parse_value(pins, "remove")


def _parse_value(mapping: LinedDict, key: str) -> None:
    """Put an `IndexSet` in place of the text of a key, if it spells one."""
    if isinstance(text := mapping.get(key), str):
        try:
            mapping[key] = IndexSet.parse(text)
        except ValueError:
            return  # plan_validation says what is wrong with it


def _decode(path: Path, content: bytes) -> str:
    """Return the text of a file; raise `PlanInvalid` where it isn't UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8; save the file as UTF-8 text."
        raise PlanInvalid(str(path), [what]) from error


class _Flow(dict[Any, Any]):
    """A mapping that is written in braces."""


class _Dumper(_BaseDumper):  # type: ignore[misc]
    """Writes what readers of YAML 1.1 and of 1.2 understand alike."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value out wherever it stands."""
        del data
        return True


def _represent_flow(dumper: Any, mapping: _Flow) -> Any:
    return dumper.represent_mapping(f"{_TAG}map", mapping, flow_style=True)


def _represent_indices(dumper: Any, indices: IndexSet) -> Any:
    """Return the indices as a person writes them; `all` needs no quotes."""
    style = None if indices.everything else '"'
    return dumper.represent_scalar(f"{_TAG}str", str(indices), style=style)


_Dumper.add_representer(_Flow, _represent_flow)
_Dumper.add_representer(IndexSet, _represent_indices)
for _pattern, _first in ((_FLOAT, "-+.0123456789"), (_OCTAL, "0"), (_HEXADECIMAL, "0")):
    _Dumper.add_implicit_resolver(  # quotes a word that YAML 1.2 alone takes for a number
        f"{_TAG}float", re.compile(rf"(?:{_pattern.pattern})\Z"), list(_first)
    )


def _flow(fields: dict[str, Any]) -> _Flow:
    """Return the mapping in braces, and those in it too."""
    return _Flow(
        (key, _flow(value) if isinstance(value, dict) else value) for key, value in fields.items()
    )


def _target_fields(target: Target) -> dict[str, Any]:
    """Return the fields of a target that are no defaults."""
    constraints = target.constraints.explicit()
    if target.constraints.protect_layers:
        constraints["protect_layers"] = target.constraints.protect_layers
    others: dict[str, Any] = {"within": list(target.within)} if target.within else {}
    if target.strategy != "knapsack":
        others["strategy"] = target.strategy
    if target.machine is not None:
        others["machine"] = target.machine.model_dump()
    rules = {"constraints": constraints} if constraints else {}
    return {**target.explicit(), **others, **rules}


def _pin_fields(pins: LayerPins) -> dict[str, Any]:
    """Return the pins of a layer that are set."""
    fields: dict[str, Any] = {}
    for kind in GROUP_TYPES:
        sublayer = pins.of(kind)
        sets = {"keep": sublayer.keep, "remove": sublayer.remove}
        wishes: dict[str, Any] = {name: indices for name, indices in sets.items() if indices}
        if sublayer.width is not None:
            wishes["width"] = sublayer.width
        if wishes:
            fields[kind] = wishes
    return fields
