"""What is known of cuts that a sweep has made: first that they are cut, then how they judge.

Their models are let go, so a sweep that was stopped finds here what it need not cut again.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.evaluation_record import ModelResult
from globalprune.artifacts.provenance import digest_json
from globalprune.artifacts.record import Record

_NAME_DIGITS = 12


class CutPoint(Record):
    """A cut model, and its figures once it was judged."""

    plan: str
    key: dict[str, Any]  # all that the figures depend on
    result: ModelResult | None = None


class CutPoints:
    """A folder of them, a file each, named by a digest of the key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self, key: dict[str, Any]) -> str:
        """A name for what belongs to that key."""
        return digest_json(key).partition(":")[2][:_NAME_DIGITS]

    def find(self, key: dict[str, Any]) -> CutPoint | None:
        """What is known; a file that can't be read says nothing."""
        path = self._path(key)
        try:
            return CutPoint.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError:
            return None

    def keep(self, point: CutPoint) -> None:
        """Write the point whole or not at all."""
        write_atomically(self._path(point.key), point.model_dump_json(indent=2) + "\n")

    def _path(self, key: dict[str, Any]) -> Path:
        return self._folder / f"{self.name(key)}.json"
