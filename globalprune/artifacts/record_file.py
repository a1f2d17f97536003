"""Records as JSON files: written whole or not at all, and refused with all that is wrong."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.file_format import format_problem
from globalprune.artifacts.record import Record
from globalprune.artifacts.staging import complete_update
from globalprune.errors import RecordInvalid
from globalprune.printable import printable

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
