"""Collects what all methods need of a text: one pass, and walks if orders of removal are asked.

The statistics of both are handed on side by side; what is made of them is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from globalprune.analyze.given import Given
from globalprune.analyze.ordering import Ordered, order_groups
from globalprune.analyze.subject import Subject
from globalprune.artifacts.run_folder import RunFolder
from globalprune.importance import Importance
from globalprune.progress import Progress
from globalprune.statistics.checkpointing import KeptPass
from globalprune.statistics.collect import Collected, collect
from globalprune.statistics.hooks import find_sites
from globalprune.statistics.interface import Collectable, GroupSums, Split, Statistic
from globalprune.statistics.loss import LabelDraw
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Measuring:
    """How a model is measured."""

    windows: TokenWindows
    methods: Sequence[Importance]
    batch_size: int
    draw: LabelDraw | None
    work: RunFolder  # where what there is so far is kept, and gone on from
    progress: Progress

    def needs(self) -> set[Statistic]:
        """The statistics of all methods together."""
        return {need for method in self.methods for need in method.needs}


@dataclass(frozen=True)
class Measured:
    """The statistics, and the order of removal of every half if it was asked for."""

    collected: Collected
    ordered: Ordered | None
    trouble: str | None  # why not all could be kept meanwhile


def measure(loaded: Any, subject: Subject, how: Measuring, given: Given | None = None) -> Measured:
    """Collect in one pass what all methods need together, then order the groups if need be.

    Groups that are gone by a `given` plan count as nothing.
    """
    needs = how.needs()
    collectable: set[Collectable] = set()
    for need in needs:
        if need != "removal_loss" and need != "measured_removal_loss":  # noqa: PLR1714 - narrows
            collectable.add(need)
    ordering = len(collectable) < len(needs)
    kept = KeptPass(how.work, to_its_end=ordering)
    collected = collect(
        loaded,
        how.windows,
        find_sites(loaded, subject.adapter, subject.structure, subject.layers),
        collectable | {"output_curvature"} if ordering else collectable,
        batch_size=how.batch_size,
        draw=how.draw,
        kept=kept,
        progress=how.progress,
    )
    ordered = None
    if ordering:
        ordered = order_groups(
            loaded,
            subject,
            how.windows,
            _curvature(collected),
            trying="measured_removal_loss" in needs,
            batch_size=how.batch_size,
            work=how.work,
            progress=how.progress,
        )
        collected = _with_losses(collected, ordered.losses())
    if given is not None:
        collected = _of_what_stands(collected, given)
    return Measured(collected, ordered, kept.trouble)


def _curvature(collected: Collected) -> Split[GroupSums]:
    """The curvature at the outputs, of all windows and of each half of them."""
    halves = collected.halves
    return Split(
        collected.sums["output_curvature"],
        halves and (halves[0]["output_curvature"], halves[1]["output_curvature"]),
    )


def _with_losses(collected: Collected, losses: Split[dict[Statistic, GroupSums]]) -> Collected:
    """The statistics, with the losses that orders of removal give."""
    halves = collected.halves
    if halves is not None and losses.halves is not None:
        halves = (halves[0] | losses.halves[0], halves[1] | losses.halves[1])
    return replace(collected, sums=collected.sums | losses.whole, halves=halves)


def _of_what_stands(collected: Collected, given: Given) -> Collected:
    """The statistics, zero wherever a group is gone."""
    halves = collected.halves
    return replace(
        collected,
        sums=_zeroed(collected.sums, given),
        halves=halves and (_zeroed(halves[0], given), _zeroed(halves[1], given)),
    )


def _zeroed(sums: Mapping[Statistic, GroupSums], given: Given) -> dict[Statistic, GroupSums]:
    """All statistics of groups, with zeros for those that are gone."""
    return {
        name: {half: given.standing(half, values) for half, values in values_of.items()}
        for name, values_of in sums.items()
        if name != "output_curvature"  # of outputs, and used by now
    }
