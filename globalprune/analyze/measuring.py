"""Collects what all methods need of a text: one pass, and a walk if orders of removal are asked.

The statistics of both are handed on side by side; what is made of them is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from globalprune.analyze.given import Given
from globalprune.analyze.subject import Subject
from globalprune.importance.interface import Importance
from globalprune.passes.halves import halves_of, layers_of
from globalprune.passes.hooks import frozen
from globalprune.passes.interface import Collectable, GroupSums, Split, Statistic
from globalprune.passes.labels import LabelDraw
from globalprune.passes.removal import Removal, removal_of
from globalprune.passes.sites import find_sites
from globalprune.passes.statistics import Collected, collect
from globalprune.progress import Progress
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Measuring:
    """How a model is measured."""

    windows: TokenWindows
    methods: Sequence[Importance]
    batch_size: int
    draw: LabelDraw | None
    progress: Progress

    @property
    def orders(self) -> bool:
        """Whether an order of removal is needed."""
        return any("removal_loss" in method.needs for method in self.methods)


@dataclass(frozen=True)
class Measured:
    """The statistics, and the order of removal of every half if it was asked for."""

    collected: Collected
    removal: Removal | None


def measure(loaded: Any, subject: Subject, how: Measuring, given: Given | None = None) -> Measured:
    """Collect in one pass what all methods need together, then order the groups if need be.

    Groups that are gone by a `given` plan count as nothing.
    """
    sites = find_sites(loaded, subject.adapter, subject.structure, subject.layers)
    needs: set[Collectable] = {"output_curvature"} if how.orders else set()
    for method in how.methods:
        needs.update(need for need in method.needs if need != "removal_loss")
    collected = collect(
        loaded,
        how.windows,
        sites,
        needs,
        batch_size=how.batch_size,
        draw=how.draw,
        progress=how.progress,
    )
    removal = _order(loaded, subject, how, collected) if how.orders else None
    if removal is not None:
        collected = _with_losses(collected, removal)
    if given is not None:
        collected = _of_what_stands(collected, given)
    return Measured(collected, removal)


def _order(loaded: Any, subject: Subject, how: Measuring, collected: Collected) -> Removal:
    """Walk the windows through the halves once more."""
    halves = collected.halves
    curvature = Split(
        collected.sums["output_curvature"],
        halves and (halves[0]["output_curvature"], halves[1]["output_curvature"]),
    )
    with frozen(loaded):
        return removal_of(
            loaded,
            layers_of(loaded, subject.adapter, subject.structure),
            halves_of(loaded, subject.adapter, subject.structure),
            how.windows,
            curvature,
            batch_size=how.batch_size,
            progress=how.progress,
        )


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


def _with_losses(collected: Collected, removal: Removal) -> Collected:
    """The statistics, with those that the order gives."""
    halves = collected.halves
    if halves is not None and removal.halves is not None:
        first, second = removal.halves
        halves = (halves[0] | {"removal_loss": first}, halves[1] | {"removal_loss": second})
    return replace(collected, sums=collected.sums | {"removal_loss": removal.losses}, halves=halves)
