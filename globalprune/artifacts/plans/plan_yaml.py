"""plan.yaml as text: parsed with line numbers, and written one layer per line.

ruamel reads character by character, so long index sets are replaced by marks before parsing and
after writing. Decisions come last in a written plan.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from globalprune.artifacts.plans.index_set import ALL, IndexSet
from globalprune.artifacts.plans.plan import LayerPins, PrunePlan, Target
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import PlanInvalid

_LONG = re.compile(r'"([\d\s,-]{200,})"')
_WIDTH = 72  # of a line of indices, beside what stands before the first one
_MARK = re.compile("\ue000(\\d+)\ue001")  # of private characters: no plan has a use for them


class ShortenedText:
    """A text without what is long in it, and what that was."""

    def __init__(self, text: str) -> None:
        self._long: list[str] = []
        self._ends: list[int] = []  # where marks end in the shortened text
        self._missing = [0]  # lines that were left out, up to each of them
        self.text = text if _MARK.search(text) else "".join(self._parts(text))
        self._starts = [0, *(found.end() for found in re.finditer(r"\n", self.text))]

    def line(self, line: int, column: int) -> int:
        """The line of the whole text, from 0, where the shortened one has this place."""
        offset = self._starts[min(line, len(self._starts) - 1)] + column
        return line + self._missing[bisect_right(self._ends, offset)]

    def restore(self, document: Any) -> None:
        """Put back what was left out, in every value of a parsed document, with its lines."""
        if self._long:
            self._restore(document, set())

    def _parts(self, text: str) -> Iterator[str]:
        """Yield the text with a mark for everything long."""
        done = length = 0
        for found in _LONG.finditer(text):
            yield (part := f"{text[done : found.start()]}{_quoted_mark(len(self._long))}")
            done, length = found.end(), length + len(part)
            self._long.append(found[1])
            self._ends.append(length)
            self._missing.append(self._missing[-1] + found[0].count("\n"))
        yield text[done:]

    def _restore(self, value: Any, seen: set[int]) -> None:
        """The same below a value; an alias may lead in circles."""
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, CommentedMap):
            for place in (value.lc.data or {}).values():
                place[0] = self.line(place[0], place[1])
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(pairs):
            if isinstance(inner, str):
                if mark := _MARK.fullmatch(inner):
                    value[key] = _read(self._long[int(mark[1])])
            elif isinstance(inner, dict | list):
                self._restore(inner, seen)


class LongTexts:
    """What is long in a document that is to be written."""

    def __init__(self) -> None:
        self._long: list[str] = []

    def mark_for(self, ranges: str) -> str:
        """What stands for a set of indices until it is written: itself, unless it is long."""
        if not _LONG.fullmatch(f'"{ranges}"'):
            return ranges
        self._long.append(ranges)
        return f"\ue000{len(self._long) - 1}\ue001"

    def restore(self, text: str) -> str:
        """The text with every long set, folded to lines."""
        return _MARK.sub(self._folded, text)

    def _folded(self, mark: re.Match[str]) -> str:
        """A set over several lines, each behind a comma."""
        lines = re.findall(rf".{{1,{_WIDTH}}}(?: |$)", self._long[int(mark[1])])
        return "\n      ".join(line.rstrip(" ") for line in lines)


def _read(text: str) -> IndexSet | str:
    """The set that a text spells, or the text if it is none."""
    try:
        return IndexSet.parse(text)
    except ValueError:
        return text


def _quoted_mark(number: int) -> str:
    return f'"\ue000{number}\ue001"'


BY_LAYER = ("pin", "layers")  # the mappings whose keys are layers
Location = tuple[int | str, ...]  # the keys that lead to a value
_MEND = (
    "see that quotes and braces close; a long value goes on over several lines, which belong "
    "together."
)
_BEGIN = "a plan is a mapping that starts with `format: globalprune.plan/1`"


class Problem(NamedTuple):
    """One thing to mend; sorts by line."""

    line: int
    text: str


def load_document(path: Path) -> tuple[CommentedMap, list[Problem]]:
    """Parse the file; hand back the mapping, and every key that stands in it twice."""
    shortened = ShortenedText(_text(path))
    text = shortened.text
    repeated: list[Problem] = []
    try:
        try:
            document = YAML().load(text)
        except DuplicateKeyError:
            repeated = list(_repeated_keys(YAML().compose(text), shortened))
            if not repeated:  # one key in two spellings, such as 1 and true
                raise
            lenient = YAML()
            lenient.allow_duplicate_keys = True
            document = lenient.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = shortened.line(mark.line, mark.column) + 1 if mark else 1
        what = error.problem or error.context or "can't be parsed"
        raise PlanInvalid(str(path), [f"line {line}: is not YAML ({what}); {_MEND}"]) from error
    except (YAMLError, RecursionError, TypeError, ValueError) as error:  # a mapping in a key
        raise PlanInvalid(str(path), [f"is not YAML ({str(error) or error!r}); {_MEND}"]) from error
    if document is None:
        raise PlanInvalid(str(path), [f"the file is empty; {_BEGIN}."])
    if not isinstance(document, CommentedMap):
        kind = "a list" if isinstance(document, list) else "a single value"
        raise PlanInvalid(str(path), [f"the file holds {kind} at the top; {_BEGIN}."])
    shortened.restore(document)
    return document, repeated


def line_of(document: CommentedMap, location: Location) -> int:
    """The line on which the key stands, or the nearest mapping around it."""
    line = 1
    current: Any = document
    for part in location:
        if not isinstance(current, CommentedMap) or part not in current:
            break
        if part in (current.lc.data or ()):  # an !!omap keeps no lines
            line = current.lc.key(part)[0] + 1
        current = current[part]
    return line


def spelled(location: Location) -> str:
    """`layers.3.mlp: `, the way to it."""
    return ".".join(map(str, location)) + ": " if location else ""


def _text(path: Path) -> str:
    """The file's text, or `PlanInvalid` with why there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8; save the file as UTF-8 text."
        raise PlanInvalid(str(path), [what]) from error
    except OSError as error:
        what = f"can't be read ({error.strerror}); name a file that gp plan wrote."
        raise PlanInvalid(str(path), [what]) from error


def _repeated_keys(
    node: Node | None, text: ShortenedText, location: Location = ()
) -> Iterator[Problem]:
    """Yield a problem for every key that its mapping holds already, in all the document."""
    match node:
        case MappingNode():
            lines: dict[tuple[str, Any], int] = {}
            for key, value in node.value:
                line = text.line(key.start_mark.line, key.start_mark.column) + 1
                name, there = _name(key, line), (*location, key.value)
                if name in lines:
                    what = f"stands here again (first in line {lines[name]}); keep one of the two."
                    yield Problem(line, f"{spelled(there)}{what}")
                lines.setdefault(name, line)
                yield from _repeated_keys(value, text, there)
        case SequenceNode():
            for place, item in enumerate(node.value):
                yield from _repeated_keys(item, text, (*location, place))


def _name(key: Node, line: int) -> tuple[str, Any]:
    """What a mapping can hold once: 7 and 07 are one key, a key that is no scalar is its own."""
    if not isinstance(key.value, str):
        return "", line
    tag = str(key.tag)
    number = tag.endswith(":int") and key.value.isdigit()
    return tag, int(key.value) if number else key.value


_LINE_WIDTH = 96  # ruamel folds behind the word that crosses it


def format_plan(plan: PrunePlan) -> str:
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
        sublayers = {kind: _ranges(cuts.of(kind), long) for kind in GROUP_TYPES if cuts.of(kind)}
        layers[layer] = _flow(sublayers)
    document["layers"] = layers or _flow({})
    yaml = YAML()
    yaml.width = _LINE_WIDTH
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
        sublayer = pins.of(kind)
        said = {name: _ranges(getattr(sublayer, name)) for name in ("keep", "remove")}
        wishes: dict[str, Any] = {name: ranges for name, ranges in said.items() if ranges}
        if sublayer.width is not None:
            wishes["width"] = sublayer.width
        if wishes:
            spelled[kind] = wishes
    return spelled


def _ranges(ranges: IndexSet, long: LongTexts | None = None) -> str:
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
