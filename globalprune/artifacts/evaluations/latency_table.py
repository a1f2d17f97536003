"""machine.json: measured decoding times, and the latency of a cut model between those points.

T(cut) = T(full) - Σ over layers and kinds of (T_kind(all) - T_kind(kept)) / layers, where T_kind(k)
is the time of the model whose layers all keep k groups of that kind. Times are interpolated between
measured points and never extrapolated.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from globalprune.artifacts.disk import refuse_unwritable_file
from globalprune.artifacts.evaluations.evaluation import Hardware
from globalprune.artifacts.plans.plan import ModelReference
from globalprune.artifacts.records import Command, Record, read_record
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import RecordInvalid, UsageError

MACHINE_FORMAT: Literal["globalprune.machine/1"] = "globalprune.machine/1"
_SUFFIX = ".json"
_FORMAT_MARK = b'"globalprune.machine/'
_FIRST_BYTES = 64  # the format is among them
_NANOSECONDS: Final = 1e9


Seconds = Annotated[float, Field(gt=0)]


class TimedPoint(Record):
    """The widths that all layers keep, and the time of a token: one step of every sequence."""

    attention: int = Field(ge=0)  # groups that every layer keeps
    mlp: int = Field(ge=0)  # channels that every layer keeps
    seconds_per_token: tuple[Seconds, ...] = Field(min_length=1)  # one a round, in order

    def kept(self, group_type: GroupType) -> int:
        """Return the groups of that kind that every layer keeps."""
        return self.attention if group_type == "attention" else self.mlp


class MachineRecord(Record):
    """Times of the full model, and of models that keep fewer groups of one kind, down to none."""

    format: Literal["globalprune.machine/1"] = MACHINE_FORMAT
    model: ModelReference
    layers: int = Field(ge=1)
    device: str
    hardware: Hardware
    dtype: str
    batch_size: int = Field(ge=1)  # sequences that are decoded together
    context: int = Field(ge=1)  # tokens in the cache
    tokens: int = Field(ge=1)  # over which a round's time is the mean
    points: tuple[TimedPoint, ...] = Field(min_length=3)  # the full model first
    versions: dict[str, str]
    seconds: float = Field(ge=0)
    command: Command
    warnings: tuple[str, ...] = ()

    @property
    def full(self) -> TimedPoint:
        """Return the model that nothing was cut from."""
        return self.points[0]

    def points_of(self, group_type: GroupType) -> tuple[TimedPoint, ...]:
        """The points that keep fewer groups of that kind, from none on, and the full model."""
        whole = self.full.kept(group_type)
        fewer = [point for point in self.points if point.kept(group_type) < whole]
        return (*sorted(fewer, key=lambda point: point.kept(group_type)), self.full)


@dataclass(frozen=True, eq=False)
class LatencyCurve:
    """T_kind at the measured points, and on straight lines between them.

    Time never falls where more is kept: the medians of the rounds are replaced by their isotonic
    regression, and none lies above the full model's. So a cut that really slows a machine down
    counts as one that saves nothing.
    """

    kept: NDArray[np.int64]  # [P], from none to all groups of a layer
    seconds: NDArray[np.float64]  # [P]

    def at(self, kept: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Seconds a token where every layer keeps `kept` groups, from 0 to all; of any shape."""
        if kept.size and not 0 <= kept.min() <= kept.max() <= self.kept[-1]:
            raise ValueError(f"only from 0 to {self.kept[-1]} groups were measured.")
        seconds: NDArray[np.float64] = np.interp(kept, self.kept, self.seconds)
        return seconds

    @property
    def saved_by_all(self) -> float:
        """Seconds a token that removing all groups of all layers saves."""
        return float(self.seconds[-1] - self.seconds[0])


@dataclass(frozen=True)
class Latencies:
    """The measured curves of one model on one machine."""

    layers: int
    full: float  # seconds a token of the full model: the median round
    curves: Mapping[GroupType, LatencyCurve]

    @classmethod
    def of(cls, record: MachineRecord) -> "Latencies":
        """Make curves of the medians of the rounds."""
        full = statistics.median(record.full.seconds_per_token)
        return cls(record.layers, full, {kind: _curve(record, kind) for kind in GROUP_TYPES})

    def seconds_per_token(self, kept: NDArray[np.integer[Any]]) -> float:
        """The time of a model that keeps `kept` groups, `[layers, kinds]`, kinds in their order.

        A dropped layer keeps none of either; its norms are not counted. Raise `ValueError` for
        another number of layers, or for counts that no layer has.
        """
        if kept.shape != (self.layers, len(GROUP_TYPES)):
            raise ValueError(f"{self.layers} layers of both kinds were measured, not {kept.shape}.")
        saved = [
            (curve.seconds[-1] - curve.at(kept[:, column])).sum()
            for column, curve in enumerate(self.curves[kind] for kind in GROUP_TYPES)
        ]
        return self.full - float(sum(saved)) / self.layers

    def nanoseconds_per_token(self, kept: NDArray[np.integer[Any]]) -> int:
        """Return the same in whole nanoseconds, in which budgets are counted."""
        return round(_NANOSECONDS * self.seconds_per_token(kept))

    def nanoseconds_per_group(self, group_type: GroupType) -> int:
        """Return what a group of that kind saves on average, a token."""
        curve = self.curves[group_type]
        groups = int(curve.kept[-1]) * self.layers
        return round(_NANOSECONDS * curve.saved_by_all / groups)


def read_machine_record(path: Path) -> MachineRecord:
    """Read a record; raise `RecordInvalid` with all that is wrong with it."""
    record = read_record(path, MachineRecord, what="a record of latencies", command="gp measure")
    if found := _contradictions(record):
        raise RecordInvalid(
            f"{path}: {'; '.join(found)}: the file was edited; run gp measure again."
        )
    return record


def refuse_machine_output(path: Path) -> None:
    """Raise `UsageError` unless `path` is free, or holds such a record, which is replaced."""
    refuse_unwritable_file(path)
    if path.suffix != _SUFFIX:
        raise UsageError(f"{path}: is not called {_SUFFIX}; name a {_SUFFIX} file with -o.")
    if not path.exists():
        return
    with path.open("rb") as file:
        if _FORMAT_MARK not in file.read(_FIRST_BYTES):
            raise UsageError(f"{path}: is there and is no record of latencies; name another.")


def isotonic_regression(values: Sequence[float]) -> NDArray[np.float64]:
    """Isotonic regression: the nearest sequence that never falls, by least squares.

    Pool adjacent violators (Ayer et al., 1955): neighbours that fall get their common mean.
    """
    pools: list[tuple[float, int]] = []  # mean and size
    for value in values:
        mean, size = value, 1
        while pools and pools[-1][0] > mean:
            before, others = pools.pop()
            mean = (mean * size + before * others) / (size + others)
            size += others
        pools.append((mean, size))
    means, sizes = zip(*pools, strict=True)
    return np.repeat(np.asarray(means, np.float64), sizes)


def _contradictions(record: MachineRecord) -> list[str]:
    """Why the points are no curve for each kind that ends in the full model; empty if they are."""
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


def _curve(record: MachineRecord, group_type: GroupType) -> LatencyCurve:
    """Return the curve of one kind, which ends in the full model's median."""
    points = record.points_of(group_type)
    medians = [statistics.median(point.seconds_per_token) for point in points]
    kept = np.asarray([point.kept(group_type) for point in points], np.int64)
    return LatencyCurve(kept, np.minimum(isotonic_regression(medians), medians[-1]))
