"""A person's wishes as masks over the rows of a table: what must go, and what may be chosen.

Wishes that contradict each other, or what was measured, are refused, all of them at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.plan import HalfPins, LayerPins
from globalprune.artifacts.plans.plan_compliance import contradictions
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import PlanInvalid

Mask = NDArray[np.bool_]
Pins = Mapping[int, LayerPins]


@dataclass(frozen=True)
class Wishes:
    """One flag a row of the table; no row is in both."""

    must_go: Mask
    free: Mask


def wishes_of(analysis: Analysis, table: GroupTable, pins: Pins, where: str) -> Wishes:
    """Turn pins, whose indices exist, into masks over `table`; `where` names the file they are of.

    Raise `PlanInvalid` with every contradiction.
    """
    problems = list(_contradictions(analysis, pins))
    if problems:
        raise PlanInvalid(where, problems)
    must_go, free = np.zeros(len(table), bool), np.ones(len(table), bool)
    for layer, kind, half in _pinned_halves(pins):
        if (layer, kind) not in table.halves:
            continue  # not measured, or empty: there is nothing to choose
        rows = np.sort(table.halves[layer, kind])  # in the order of their scores: the worst first
        indices = table.group_idx[rows]
        kept = np.isin(indices, half.keep.resolve(len(rows)))
        gone = np.isin(indices, half.remove.resolve(len(rows)))
        free[rows[kept | gone]] = False
        must_go[rows[gone]] = True
        if half.width is not None:
            more = len(rows) - half.width - int(gone.sum())
            must_go[rows[~kept & ~gone][:more]] = True
            free[rows] = False
    return Wishes(must_go, free)


def _contradictions(analysis: Analysis, pins: Pins) -> Iterator[str]:
    """Yield what no plan can honour, with the way to it."""
    first, end = analysis.record.layers
    for layer, kind, half in _pinned_halves(pins):
        at = f"pin.{layer}.{kind}"
        if not first <= layer < end:
            if half.remove or half.width is not None:
                yield (
                    f"{at}: layer {layer} was not measured (the analysis covers {first}:{end}), so "
                    "nothing of it is cut; take the pin out, or analyze that layer too."
                )
            continue
        had = analysis.record.structure.layers[layer].half(kind)
        yield from (f"{at}.{wish}: {what}" for wish, what in contradictions(half, kind, had))


def _pinned_halves(pins: Pins) -> Iterator[tuple[int, GroupType, HalfPins]]:
    """Yield every half that a wish is about."""
    for layer, wishes in pins.items():
        for kind in GROUP_TYPES:
            if wishes.of(kind):
                yield layer, kind, wishes.of(kind)
