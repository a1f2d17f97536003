"""What makes measured latencies less certain than they look."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Final

from globalprune.artifacts.evaluations.evaluation import median_of_rounds, ratio_of_rounds
from globalprune.artifacts.evaluations.latency import MachineRecord, TimedPoint
from globalprune.artifacts.formatting import spelled_with_error
from globalprune.artifacts.structure import GROUP_TYPES, GroupType

_ERRORS: Final = 2  # standard errors within which a difference may be nothing
_MILLISECONDS: Final = 1000
_PERCENT: Final = 100


def warn_of_latencies(record: MachineRecord) -> tuple[str, ...]:
    """Say so where rounds differ more than points do, or where less of a model takes longer."""
    if len(record.full.seconds_per_token) == 1:
        return ("one round can't tell latency from noise; take more --rounds.",)
    noise = (_noise(record, kind) for kind in GROUP_TYPES)
    return (*filter(None, noise), *_slower_than_full(record))


def _noise(record: MachineRecord, group_type: GroupType) -> str | None:
    """Whether a kind's typical step from point to point is lost in what rounds differ by.

    The mean would hide it behind the one large step to none.
    """
    steps = [_step(less, more) for less, more in pairwise(record.points_of(group_type))]
    step, error = (_MILLISECONDS * median(column) for column in zip(*steps, strict=True))
    if step > _ERRORS * error:
        return None
    return (
        f"{group_type}: from one point to the next a token's time moves by {step:.3g} ms, and by "
        f"noise alone by {error:.3g} ms: don't trust these figures; let nothing else run here, "
        "take more --tokens and --rounds, or fewer --points."
    )


def _step(less: TimedPoint, more: TimedPoint) -> tuple[float, float]:
    """How much longer the second takes, and the error of that; both ran in every round."""
    pairs = zip(less.seconds_per_token, more.seconds_per_token, strict=True)
    value, error = median_of_rounds([theirs - ours for ours, theirs in pairs])
    return value, error or 0.0


def _slower_than_full(record: MachineRecord) -> Iterator[str]:
    """Points that take longer than the full model beyond doubt."""
    for kind in GROUP_TYPES:
        for point in record.points_of(kind)[:-1]:
            ratio, error = ratio_of_rounds(point.seconds_per_token, record.full.seconds_per_token)
            if ratio - _ERRORS * (error or 0.0) > 1:
                figure = spelled_with_error(_PERCENT * ratio, _PERCENT * (error or 0.0))
                yield (
                    f"{kind}: keeping {point.kept(kind):,} of {record.full.kept(kind):,} takes "
                    f"{figure} % of the full model's time; such a shape doesn't suit this machine, "
                    "and counts as one that saves nothing."
                )
