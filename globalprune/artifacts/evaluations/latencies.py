"""What a cut model's token takes, told from measured points: between them, never beyond them.

T(cut) = T(full) - Σ over layers and kinds of (T_kind(all) - T_kind(kept)) / layers, where T_kind(k)
is the time of the model whose layers all keep k groups of that kind and all of the other.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.evaluations.machine_record import MachineRecord
from globalprune.artifacts.groups import GROUP_TYPES, GroupType

_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, eq=False)
class LatencyCurve:
    """T_kind at the measured points, and on straight lines between them.

    Time never falls where more is kept: where noise says so, the medians of the rounds are replaced
    by the nearest that don't (isotonic least squares), and none lies above the full model's. A kind
    of cut that really slows a machine down is so taken for one that saves nothing.
    """

    kept: NDArray[np.int64]  # [P], from none to all groups of a layer
    seconds: NDArray[np.float64]  # [P]

    def at(self, kept: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Seconds a token where every layer keeps so many, any shape; each from 0 to all."""
        if kept.size and not 0 <= kept.min() <= kept.max() <= self.kept[-1]:
            raise ValueError(f"only from 0 to {self.kept[-1]} groups were measured.")
        seconds: NDArray[np.float64] = np.interp(kept, self.kept, self.seconds)
        return seconds

    @property
    def saved_by_all(self) -> float:
        """Seconds a token that go with all groups of all layers."""
        return float(self.seconds[-1] - self.seconds[0])


@dataclass(frozen=True)
class Latencies:
    """The measured curves of one model on one machine."""

    layers: int
    full: float  # seconds a token of the full model: the median round
    curves: Mapping[GroupType, LatencyCurve]

    @classmethod
    def of(cls, record: MachineRecord) -> "Latencies":
        """The medians of the rounds, made into curves."""
        full = statistics.median(record.full.seconds_per_token)
        return cls(record.layers, full, {kind: _curve(record, kind) for kind in GROUP_TYPES})

    def seconds_per_token(self, kept: NDArray[np.integer[Any]]) -> float:
        """The time of a model that keeps so many groups, `[layers, kinds]`, kinds in their order.

        A dropped layer keeps none of either; that its norms go too is not counted. Raise
        `ValueError` for another number of layers or for counts that no layer has.
        """
        if kept.shape != (self.layers, len(GROUP_TYPES)):
            raise ValueError(f"{self.layers} layers of both kinds were measured, not {kept.shape}.")
        saved = [
            (curve.seconds[-1] - curve.at(kept[:, column])).sum()
            for column, curve in enumerate(self.curves[kind] for kind in GROUP_TYPES)
        ]
        return self.full - float(sum(saved)) / self.layers

    def nanoseconds_per_token(self, kept: NDArray[np.integer[Any]]) -> int:
        """The same in whole nanoseconds, by which budgets are kept."""
        return round(_NANOSECONDS * self.seconds_per_token(kept))

    def nanoseconds_per_group(self, group_type: GroupType) -> int:
        """What a group of that kind saves on average, a token; 0 where nothing is saved."""
        curve = self.curves[group_type]
        groups = int(curve.kept[-1]) * self.layers
        return round(_NANOSECONDS * curve.saved_by_all / groups)


def _curve(record: MachineRecord, group_type: GroupType) -> LatencyCurve:
    """One kind's curve, which ends in the full model's median."""
    points = record.points_of(group_type)
    medians = [statistics.median(point.seconds_per_token) for point in points]
    kept = np.asarray([point.kept(group_type) for point in points], np.int64)
    return LatencyCurve(kept, np.minimum(never_falling(medians), medians[-1]))


def never_falling(values: Sequence[float]) -> NDArray[np.float64]:
    """The nearest sequence that never falls, by least squares; neighbours that do are pooled."""
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
