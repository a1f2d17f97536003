"""What was measured so far, so that a run that was cut short goes on where it stood.

A part is one readable JSON file, named by a digest of all that its figures depend on: a part of
another model, another question or other versions is never taken for this one's.
"""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.evaluations.evaluation_record import PerplexityResult, TaskResult
from globalprune.artifacts.provenance import digest_json
from globalprune.artifacts.record import Record

PARTS_FOLDER = "parts"
_NAME_DIGITS = 16


class TextPart(Record):
    """A model's size, memory and perplexity."""

    source: str
    key: dict[str, Any]
    parameters: int
    file_bytes: int | None  # None: nothing was written
    kv_cache_bytes_per_token: int | None
    peak_memory_bytes: int | None
    dtype: str
    perplexity: PerplexityResult


class TasksPart(Record):
    """A model's answers to tasks."""

    source: str
    key: dict[str, Any]
    tasks: dict[str, TaskResult]


PartT = TypeVar("PartT", TextPart, TasksPart)
_NAMES: dict[type[Record], str] = {TextPart: "text", TasksPart: "tasks"}


class Parts:
    """The parts in a folder; without one nothing is kept and nothing is found."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, kind: type[PartT], key: dict[str, Any]) -> PartT | None:
        """The part that was kept under this key; a file that can't be read is measured again."""
        path = self._path(kind, key)
        if path is None or not path.is_file():
            return None
        try:
            part = kind.model_validate_json(path.read_bytes())
        except ValidationError:
            return None
        return part if digest_json(part.key) == digest_json(key) else None

    def keep(self, part: PartT) -> PartT:
        """Write the part, if there is a folder."""
        path = self._path(type(part), part.key)
        if path is not None:
            write_atomically(path, part.model_dump_json(indent=2) + "\n")
        return part

    def _path(self, kind: type[Record], key: dict[str, Any]) -> Path | None:
        """Where such a part lies."""
        if self._folder is None:
            return None
        digest = digest_json(key).partition(":")[2][:_NAME_DIGITS]
        return self._folder / f"{_NAMES[kind]}-{digest}.json"
