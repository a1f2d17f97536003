"""Records as JSON files: written whole or not at all, and refused with all that is wrong."""

import re
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.record import Record
from globalprune.errors import RecordInvalid

Kind = TypeVar("Kind", bound=Record)
_SHOWN_PROBLEMS: Final = 20


def write_record(path: Path, record: Record) -> None:
    """Write the record whole or not at all."""
    write_atomically(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, kind: type[Kind], *, what: str, command: str) -> Kind:
    """Read a record; raise `RecordInvalid` with all that is wrong with it.

    `what` says what it should be, with its article, and `command` makes it anew.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordInvalid(
            f"{path}: can't be read ({error.strerror}); name what {command} wrote."
        ) from error
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        complaint = _complaint(error, kind, what, command)
        raise RecordInvalid(f"{path}: {complaint}") from error


def _complaint(error: ValidationError, kind: type[Record], what: str, command: str) -> str:
    """Say all that pydantic found, or the one thing that explains it all."""
    found = error.errors(include_url=False)
    reads = str(kind.model_fields["format"].default)
    known = re.compile(re.escape(reads.rpartition("/")[0]) + r"/(\d+)")
    for problem in found:
        version = known.fullmatch(str(problem["input"])) if problem["loc"] == ("format",) else None
        if version:
            return (
                f"is of format {version[0]}, this globalprune reads {reads}; install the "
                f"globalprune that wrote it, or run {command} again."
            )
    if found[0]["type"] == "json_invalid":
        return f"is not JSON ({found[0]['msg']}); run {command} again."
    lines = [
        f"  {'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
        for problem in found[:_SHOWN_PROBLEMS]
    ]
    left_out = len(found) - len(lines)
    more = [f"  … and {left_out} more"] if left_out else []
    return "\n".join([f"is not {what}; run {command} again.", *lines, *more])
