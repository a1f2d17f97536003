"""machine.json: how long a decoded token takes on a machine, by what the model's layers keep.

Only what was measured stands here; latencies.py says what lies between the points.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from globalprune.artifacts.command import Command
from globalprune.artifacts.disk import refuse_impossible
from globalprune.artifacts.evaluations.evaluation_record import Hardware
from globalprune.artifacts.groups import GROUP_TYPES, GroupType
from globalprune.artifacts.plans.prune_plan import ModelReference
from globalprune.artifacts.record import Record
from globalprune.artifacts.record_file import read_record
from globalprune.errors import RecordInvalid, UsageError

MACHINE_FORMAT: Literal["globalprune.machine/1"] = "globalprune.machine/1"
_SUFFIX = ".json"
_FAMILY = b'"globalprune.machine/'
_FIRST_BYTES = 64  # among which the format stands

Seconds = Annotated[float, Field(gt=0)]


class TimedPoint(Record):
    """A model whose layers all keep as much, and the time of a token: a step of every sequence."""

    attention: int = Field(ge=0)  # groups that every layer keeps
    mlp: int = Field(ge=0)  # channels that every layer keeps
    seconds_per_token: tuple[Seconds, ...] = Field(min_length=1)  # one a round, in order

    def kept(self, group_type: GroupType) -> int:
        """The groups of that kind that every layer keeps."""
        return self.attention if group_type == "attention" else self.mlp


class MachineRecord(Record):
    """Times of the full model, and of ones that keep fewer groups of one kind, down to none."""

    format: Literal["globalprune.machine/1"] = MACHINE_FORMAT
    model: ModelReference
    layers: int = Field(ge=1)
    device: str
    hardware: Hardware
    dtype: str
    batch_size: int = Field(ge=1)  # sequences that are decoded together
    context: int = Field(ge=1)  # tokens that lie in the cache before
    tokens: int = Field(ge=1)  # that a turn's time is the mean of
    points: tuple[TimedPoint, ...] = Field(min_length=3)  # the full model first
    versions: dict[str, str]
    seconds: float = Field(ge=0)
    command: Command
    warnings: tuple[str, ...] = ()

    @property
    def full(self) -> TimedPoint:
        """The model that nothing was cut from."""
        return self.points[0]

    def points_of(self, group_type: GroupType) -> tuple[TimedPoint, ...]:
        """The full model and those that keep fewer groups of that kind, from none on."""
        whole = self.full.kept(group_type)
        fewer = [point for point in self.points if point.kept(group_type) < whole]
        return (*sorted(fewer, key=lambda point: point.kept(group_type)), self.full)


def read_machine_record(path: Path) -> MachineRecord:
    """Read a record; raise `RecordInvalid` with all that is wrong with it."""
    record = read_record(path, MachineRecord, what="a record of latencies", command="gp measure")
    if found := _contradictions(record):
        raise RecordInvalid(
            f"{path}: {'; '.join(found)}: the file was edited; run gp measure again."
        )
    return record


def refuse_machine_place(path: Path) -> None:
    """Raise `UsageError` unless `path` is free, or holds such a record that may be replaced."""
    refuse_impossible(path)
    if path.suffix != _SUFFIX:
        raise UsageError(f"{path}: is not called {_SUFFIX}; name a {_SUFFIX} file with -o.")
    if not path.exists():
        return
    with path.open("rb") as file:
        if _FAMILY not in file.read(_FIRST_BYTES):
            raise UsageError(f"{path}: is there and is no record of latencies; name another.")


def _contradictions(record: MachineRecord) -> list[str]:
    """What keeps the points from being a curve for each kind that ends in the full model."""
    found = []
    full, rounds = record.full, len(record.full.seconds_per_token)
    for number, point in enumerate(record.points):
        if len(point.seconds_per_token) != rounds:
            found.append(f"points.{number} has not the {rounds} rounds of the full model")
        fewer = [kind for kind in GROUP_TYPES if point.kept(kind) < full.kept(kind)]
        more = [kind for kind in GROUP_TYPES if point.kept(kind) > full.kept(kind)]
        if more or len(fewer) != int(number > 0):
            found.append(f"points.{number} keeps not fewer groups of one kind alone")
    for kind in GROUP_TYPES:
        counts = [point.kept(kind) for point in record.points_of(kind)]
        if counts[0] != 0 or counts[-1] == 0 or len(set(counts)) != len(counts):
            found.append(f"its points of {kind} are not distinct counts from 0 on")
    return found
