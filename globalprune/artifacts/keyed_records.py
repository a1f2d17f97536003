"""Records kept by all that their figures depend on, so that work that was stopped goes on.

Each is one readable JSON file, named by a digest of its key: what belongs to another model, another
question or other versions is never taken for this one's.
"""

from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.provenance import digest_json
from globalprune.artifacts.record import Record

_NAME_DIGITS = 16


class KeyedRecord(Record):
    """A record that tells what it depends on."""

    kind: ClassVar[str]  # what its file's name begins with

    key: dict[str, Any]


KeyedT = TypeVar("KeyedT", bound=KeyedRecord)


class KeyedRecords:
    """The records in a folder; without one nothing is kept and nothing is found."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, kind: type[KeyedT], key: dict[str, Any]) -> KeyedT | None:
        """What was kept under this key; a file that can't be read is as good as none."""
        path = self._path(kind, key)
        if path is None or not path.is_file():
            return None
        try:
            found = kind.model_validate_json(path.read_bytes())
        except ValidationError:
            return None
        return found if digest_json(found.key) == digest_json(key) else None

    def keep(self, record: KeyedT) -> KeyedT:
        """Write it whole or not at all, if there is a folder."""
        path = self._path(type(record), record.key)
        if path is not None:
            write_atomically(path, record.model_dump_json(indent=2) + "\n")
        return record

    def _path(self, kind: type[KeyedRecord], key: dict[str, Any]) -> Path | None:
        """Where such a record lies."""
        return (
            None if self._folder is None else self._folder / f"{kind.kind}-{short_digest(key)}.json"
        )


def short_digest(key: dict[str, Any]) -> str:
    """A name for what belongs to that key."""
    return digest_json(key).partition(":")[2][:_NAME_DIGITS]
