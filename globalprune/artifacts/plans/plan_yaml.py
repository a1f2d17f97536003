"""A plan's YAML text as a document that still knows its lines; nothing here knows what it means."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from globalprune.artifacts.plans.plan_long_text import ShortenedText
from globalprune.errors import PlanInvalid

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
