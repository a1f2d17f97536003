"""The base of every JSON and YAML file that we write: strict, versioned, digested.

A record refuses unknown keys, and its strings hold no control characters. A record file is written
whole or not at all; a bad one is refused with all of its problems. The format is checked first,
because the keys of another format are no mistakes.
"""

import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.staging import complete_update
from globalprune.errors import RecordInvalid
from globalprune.printable import printable, printable_value


class Record(BaseModel):
    """A value that never changes and that refuses keys it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    verbatim: ClassVar[frozenset[str]] = frozenset(
        {"command"}
    )  # fields that are kept to the letter

    @model_validator(mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Spell the characters that act."""
        if not isinstance(value, dict):
            return value
        return {printable_value(name): cls._shown(name, part) for name, part in value.items()}

    @classmethod
    def _shown(cls, name: Any, part: Any) -> Any:
        """A field as it may be shown; a record inside sees to its own."""
        field = cls.model_fields.get(name) if isinstance(name, str) else None
        is_record = isinstance(part, dict) and (field is None or not _is_mapping(field))
        return part if name in cls.verbatim or is_record else printable_value(part)


def _is_mapping(field: FieldInfo) -> bool:
    """Whether a field holds keys of a file's own choice."""
    return get_origin(field.annotation) is dict


def format_problem(content: Mapping[Any, Any], reads: str, again: str) -> str | None:
    """What is wrong with the format that a file names, and what to do; None where nothing is.

    `reads` is the one that is read, `again` says how the file is made anew.
    """
    said = content.get("format")
    if said == reads:
        return None
    if said is None:
        return f"names no format; add `format: {reads}` if it is of that one, or {again}."
    kind, _, version = str(said).rpartition("/")
    if kind == reads.rpartition("/")[0] and version.isdigit():
        ours = f"is of format {said}, this globalprune reads {reads}"
        return f"{ours}; install the globalprune that wrote it, or {again}."
    return f"is of format {said}, which is not {reads}; name another file, or {again}."


Kind = TypeVar("Kind", bound=Record)
_SHOWN_PROBLEMS: Final = 20
_SHOWN_DIGITS: Final = 30
_TOO_LARGE: Final = 2**63


def write_record(path: Path, record: Record) -> None:
    """Write the record whole or not at all."""
    write_atomically(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, kind: type[Kind], *, what: str, command: str) -> Kind:
    """Read a record; raise `RecordInvalid` with all that is wrong with it.

    `what` says what it should be, with its article, and `command` makes it anew.
    """
    complete_update(path.parent)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordInvalid(
            f"{path}: can't be read ({error.strerror}); name what {command} wrote."
        ) from error
    try:
        top = from_json(content)
    except ValueError as error:
        raise RecordInvalid(f"{path}: is not JSON ({error}); run {command} again.") from error
    reads = str(kind.model_fields["format"].default)
    if isinstance(top, dict) and (problem := format_problem(top, reads, f"run {command} again")):
        raise RecordInvalid(f"{path}: {problem}")
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        raise RecordInvalid(f"{path}: {_complaint(error, what, command)}") from error
    if found := list(islice(_impossible(top), _SHOWN_PROBLEMS)):
        lines = "\n".join(f"  {where}: {number}" for where, number in found)
        raise RecordInvalid(
            f"{path}: holds numbers that {what} can't; run {command} again.\n{lines}"
        )
    return record


def _impossible(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield numbers that are no finite float, or no count that fits into 64 bits, by their place.

    A count is never negative; what may be is written with a point.
    """
    match value:
        case bool():
            return
        case int() if not 0 <= value < _TOO_LARGE:
            yield where, printable(str(value)[:_SHOWN_DIGITS])
        case float() if not math.isfinite(value):
            yield where, str(value)
        case list():
            for place, item in enumerate(value):
                yield from _impossible(item, f"{where}.{place}".lstrip("."))
        case dict():
            for name, item in value.items():
                yield from _impossible(item, f"{where}.{printable(name)}".lstrip("."))


def _complaint(error: ValidationError, what: str, command: str) -> str:
    """Say all that pydantic found."""
    found = error.errors(include_url=False)
    lines = [
        f"  {'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
        for problem in found[:_SHOWN_PROBLEMS]
    ]
    left_out = len(found) - len(lines)
    more = [f"  … and {left_out} more"] if left_out else []
    return "\n".join([f"is not {what}; run {command} again.", *lines, *more])


PREFIX = "sha256:"
RECORDED_TOOLS = ("globalprune", "torch", "transformers", "datasets", "tokenizers", "pyarrow")
OWN_FOLDER = "globalprune"


def digest_bytes(*parts: bytes | memoryview) -> str:
    """`sha256:…` of the parts, one after the other."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return PREFIX + state.hexdigest()


def digest_json(value: Any) -> str:
    """`sha256:…` of a JSON value in its one canonical spelling."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(canonical.encode())


def tool_versions(*more: str) -> dict[str, str]:
    """The versions of Python and of the libraries that can change a figure, and of `more`."""
    versions = {"python": platform.python_version()}
    for name in (*RECORDED_TOOLS, *more):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
