"""What one item found: a JSON file in the work folder, which a later run takes up again."""

import json
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationError

from contest.question import Item
from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.records import Record

PARTS = "parts"


class Judged(Record):
    """One text's verdict, window by window; sums of nats over predicted tokens."""

    nll: tuple[float, ...]
    tokens: tuple[int, ...]  # predicted
    divergence: tuple[float, ...] | None  # Σ KL(dense || pruned); None: not measured there
    windows: str  # digest of the ids


class Part(Record):
    """One item's figures, or why there are none."""

    verbatim: ClassVar[frozenset[str]] = Record.verbatim | {"error"}  # a traceback has lines

    key: str  # digest of all that they depend on
    item: Item
    parameters: int = 0  # of the dense model
    removed: int = 0  # parameters that are gone
    seconds: float = 0.0  # of pruning, the model's loading included
    peak_bytes: int = 0  # of pruning
    commands: tuple[str, ...] = ()
    texts: dict[str, Judged] = Field(default_factory=dict)
    error: str | None = None


def part_path(work: Path, item: Item) -> Path:
    """Where an item's part lies."""
    return work / PARTS / f"{item.name}.json"


def read_part(work: Path, item: Item, key: str) -> Part | None:
    """A finished part of exactly this item; None where it has to be measured (again)."""
    path = part_path(work, item)
    if not path.is_file():
        return None
    try:
        part = Part.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:  # of another version of this file, or damaged
        return None
    return part if part.key == key and part.error is None else None


def restore_parts(work: Path, results: Path) -> None:
    """Put back what earlier results hold and the work folder lacks; keys tell what serves."""
    if not results.is_file():
        return
    for raw in json.loads(results.read_text(encoding="utf-8"))["parts"]:
        try:
            part = Part.model_validate(raw)
        except ValidationError:  # of another version of this file
            continue
        if not part_path(work, part.item).exists():
            write_part(work, part)


def write_part(work: Path, part: Part) -> None:
    """Write a part, whole or not at all."""
    write_atomically(part_path(work, part.item), part.model_dump_json(indent=1) + "\n")
