"""Collects the named statistics of all measured groups in a single pass."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from globalprune.passes.interface import (
    Collectable,
    Counts,
    GroupSums,
    Site,
    Split,
    Statistic,
    StatisticReducer,
)
from globalprune.passes.kept_pass import KeptPass
from globalprune.passes.labels import LabelDraw
from globalprune.passes.reducers.activations import InputRms, magnitudes
from globalprune.passes.reducers.curvature import Curvature
from globalprune.passes.reducers.first_order import FirstOrder
from globalprune.passes.reducers.gates import GateFisher, WinsorisedGateFisher
from globalprune.passes.reducers.output_curvature import OutputCurvature
from globalprune.passes.stream import PassFacts, midpoint, stream
from globalprune.progress import Progress, silent
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Collected:
    """One float64 number for every group and every statistic, and what the pass was."""

    sums: dict[Statistic, GroupSums]
    halves: tuple[dict[Statistic, GroupSums], dict[Statistic, GroupSums]] | None  # of the windows
    facts: PassFacts


def collect(
    model: Any,
    windows: TokenWindows,
    sites: Sequence[Site],
    needs: Collection[Collectable],
    *,
    batch_size: int,
    draw: LabelDraw | None = None,
    kept: KeptPass | None = None,
    progress: Progress = silent,
) -> Collected:
    """Collect what is needed and no more: no backward pass unless a gradient is asked for.

    What was `kept` of such a pass that was stopped is gone on from.
    """
    reducers = _reducers(needs)

    def halfway() -> None:
        for reducer in reducers:
            reducer.halve()

    facts = stream(
        model,
        windows,
        sites,
        reducers,
        batch_size=batch_size,
        draw=draw,
        halfway=halfway,
        kept=kept,
        progress=progress,
    )
    counts = _counts(windows.rows)
    found: dict[Statistic, Split[GroupSums]] = {}
    for reducer in reducers:
        found.update(reducer.finish(counts))
    if "magnitude" in needs:
        sums = magnitudes(sites)
        found["magnitude"] = Split(sums, counts.halves and (sums, sums))
    whole = {name: split.whole for name, split in found.items()}
    first, second = (
        {name: split.halves[which] for name, split in found.items() if split.halves}
        for which in (0, 1)
    )
    return Collected(whole, (first, second) if counts.halves else None, facts)


def _counts(rows: Sequence[torch.Tensor]) -> Split[Counts]:
    """How much text the windows are, and each half of them."""
    if len(rows) == 1:
        return Split(_count(rows))
    middle = midpoint(len(rows))
    return Split(_count(rows), (_count(rows[:middle]), _count(rows[middle:])))


def _count(rows: Sequence[torch.Tensor]) -> Counts:
    tokens = sum(len(row) for row in rows)
    return Counts(windows=len(rows), tokens=tokens, predicted=tokens - len(rows))


def _reducers(needs: Collection[Collectable]) -> list[StatisticReducer]:
    """The reducers that make these statistics, each product of gradients formed once."""
    reducers: list[StatisticReducer] = []
    if "curvature" in needs:
        reducers.append(Curvature(FirstOrder() if "first_order" in needs else None))
    elif "first_order" in needs:
        reducers.append(FirstOrder())
    if "gate_fisher" in needs:
        reducers.append(GateFisher())
    if "gate_fisher_winsorised" in needs:
        reducers.append(WinsorisedGateFisher())
    if "output_curvature" in needs:
        reducers.append(OutputCurvature())
    if "input_rms" in needs:
        reducers.append(InputRms())
    return reducers
