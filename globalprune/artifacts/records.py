"""The base of every JSON and YAML file that we write: strict, versioned, digested.

A record refuses unknown keys, and its strings hold no control characters. A record file is written
whole or not at all; a bad one is refused with all of its problems. Its format is checked first,
because the keys of another format are no mistakes.

A command is recorded as the list of its arguments, and quoted only where it is shown.
"""

import hashlib
import json
import math
import platform
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.staging import complete_update
from globalprune.errors import RecordInvalid
from globalprune.printable import printable, printable_value

RECORDS_FOLDER: Final = "globalprune"  # in a result, for its records
DIGEST_PREFIX: Final = "sha256:"
RECORDED_TOOLS: Final = (
    "globalprune", "torch", "transformers", "datasets", "tokenizers", "pyarrow",
)  # fmt: skip
_SHOWN_PROBLEMS: Final = 20
_SHOWN_DIGITS: Final = 30
_TOO_LARGE: Final = 2**63
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SURROGATES: Final = 0xD800  # the first of them
_MARKUP: Final = re.compile(r"[<`]")


class Record(BaseModel):
    """A value that never changes and that refuses keys it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    verbatim: ClassVar[frozenset[str]] = frozenset({"command"})  # fields that stay to the letter

    @model_validator(mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Replace control characters by their escapes."""
        if not isinstance(value, dict):
            return value
        return {printable_value(name): cls._shown(name, part) for name, part in value.items()}

    @classmethod
    def _shown(cls, name: Any, part: Any) -> Any:
        """Return a field's value without control characters; an inner record does that itself."""
        field = cls.model_fields.get(name) if isinstance(name, str) else None
        is_record = isinstance(part, dict) and (field is None or not _is_mapping(field))
        return part if name in cls.verbatim or is_record else printable_value(part)


RecordT = TypeVar("RecordT", bound=Record)


def _arguments(value: Any) -> Any:
    """Split the quoted text of an older record; escape bytes that are no text."""
    parts = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    return tuple(_encodable(part) if isinstance(part, str) else part for part in parts)


# of a call from Python it is empty
Command = Annotated[
    tuple[str, ...], BeforeValidator(_arguments, json_schema_input_type=tuple[str, ...] | str)
]


class TextRecord(Record):
    """Text as it was read and cut into windows; the document digests show reuse in evaluation."""

    source: str
    documents: int = Field(ge=0)
    document_digests: tuple[str, ...]
    samples: int = Field(ge=0)
    seq_len: int | None  # None: the windows have several lengths
    stride: int | None
    tokens: int = Field(ge=0)
    predicted_tokens: int = Field(ge=0)
    seed: int | None
    bos: bool
    digest: str  # of the windows' ids


def write_record(path: Path, record: Record) -> None:
    """Write the record whole or not at all."""
    write_atomically(path, record.model_dump_json(indent=2) + "\n")


def json_schema(kind: type[Record], name: str) -> dict[str, Any]:
    """Return the JSON Schema of files of that kind; `name` is the schema's own file."""
    schema = kind.model_json_schema()
    # a file must say its format; a value in a program may leave it out
    schema["required"] = ["format", *schema["required"]]
    return {"$schema": _DIALECT, **schema, "title": f"globalprune {name.partition('.')[0]}"}


def read_record(path: Path, kind: type[RecordT], *, what: str, command: str) -> RecordT:
    """Read a record of a kind; `what` names the kind with its article, `command` writes it.

    Raises:
        RecordInvalid: the file can't be read or is no such record; all problems in one message.
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
    expected = str(kind.model_fields["format"].default)
    if isinstance(top, dict):
        problem = format_problem(top, expected, f"run {command} again")
        if problem is not None:
            raise RecordInvalid(f"{path}: {problem}")
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        raise RecordInvalid(f"{path}: {_all_problems(error, what, command)}") from error
    if impossible := list(islice(_impossible_numbers(top), _SHOWN_PROBLEMS)):
        lines = "\n".join(f"  {where}: {number}" for where, number in impossible)
        raise RecordInvalid(
            f"{path}: holds numbers that {what} can't; run {command} again.\n{lines}"
        )
    return record


def format_problem(content: Mapping[Any, Any], expected: str, remedy: str) -> str | None:
    """Return what is wrong with the `format` of a file's content, and what to do; None if nothing.

    `remedy` says how the file is made again.
    """
    stated = content.get("format")
    if stated == expected:
        return None
    if stated is None:
        return f"names no format; add `format: {expected}` if it is of that one, or {remedy}."
    kind, _, version = str(stated).rpartition("/")
    if kind == expected.rpartition("/")[0] and version.isdigit():
        return (
            f"is of format {stated}, this globalprune reads {expected}; install the globalprune "
            f"that wrote it, or {remedy}."
        )
    return f"is of format {stated}, which is not {expected}; name another file, or {remedy}."


def format_command(command: Iterable[str]) -> str:
    r"""Return one line that a shell reads as these arguments.

    An argument with a line break, another control character, or a character that begins markup is
    quoted as bash quotes escapes: `$'a\nb'`.
    """
    return " ".join(map(_quoted, command))


def with_plan(command: Sequence[str], plan: str) -> tuple[str, ...]:
    """Return the command with `plan` as the value of `--plan`."""
    option, changed = "--plan", [*command]
    for at, argument in enumerate(command):
        if argument == option:
            changed[at + 1 : at + 2] = [plan]
        elif argument.startswith(f"{option}="):
            changed[at : at + 1] = [option, plan]
    return tuple(changed)


def digest_bytes(*parts: bytes | memoryview) -> str:
    """Return `sha256:…` of the parts, one after the other."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return DIGEST_PREFIX + state.hexdigest()


def digest_json(value: Any) -> str:
    """Return `sha256:…` of a JSON value in its canonical spelling: sorted keys, no spaces."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(canonical.encode())


def tool_versions(*more: str) -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change a figure, and `more`."""
    versions = {"python": platform.python_version()}
    for name in (*RECORDED_TOOLS, *more):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _is_mapping(field: FieldInfo) -> bool:
    """Return whether a field holds keys that the file chooses."""
    return get_origin(field.annotation) is dict


def _impossible_numbers(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield the place and text of numbers that are not finite, negative counts, and huge ones.

    A count is an integer below 2**63; numbers that may be negative are written with a point.
    """
    match value:
        case bool():
            return
        case int() if not 0 <= value < _TOO_LARGE:
            yield where, printable(str(value)[:_SHOWN_DIGITS])
        case float() if not math.isfinite(value):
            yield where, str(value)
        case list():
            for index, item in enumerate(value):
                yield from _impossible_numbers(item, f"{where}.{index}".lstrip("."))
        case dict():
            for name, item in value.items():
                yield from _impossible_numbers(item, f"{where}.{printable(name)}".lstrip("."))


def _all_problems(error: ValidationError, what: str, command: str) -> str:
    """List the problems that pydantic reports, one a line."""
    problems = error.errors(include_url=False)
    lines = [
        f"  {'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
        for problem in problems[:_SHOWN_PROBLEMS]
    ]
    left_out = len(problems) - len(lines)
    more = [f"  … and {left_out} more"] if left_out else []
    return "\n".join([f"is not {what}; run {command} again.", *lines, *more])


def _encodable(argument: str) -> str:
    """Return the argument without lone surrogates, which no JSON file can hold."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return "".join(
            c if c.isprintable() or ord(c) < _SURROGATES else printable(c) for c in argument
        )
    return argument


def _quoted(argument: str) -> str:
    """Return one argument, quoted for a shell."""
    if printable(argument) == argument and not _MARKUP.search(argument):
        return shlex.quote(argument)
    escaped = printable(argument.replace("\\", "\\\\").replace("'", "\\'"))
    escaped = _MARKUP.sub(lambda match: f"\\x{ord(match[0]):02x}", escaped)
    return f"$'{escaped}'"
