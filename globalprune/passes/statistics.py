"""Collects the named statistics of all measured groups in a single pass."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from globalprune.passes.activations import InputRms, magnitudes
from globalprune.passes.gates import GateFisher, WinsorisedGateFisher
from globalprune.passes.gradients import Curvature, FirstOrder
from globalprune.passes.interface import GroupSums, Reducer, Site, Statistic
from globalprune.passes.labels import LabelDraw
from globalprune.passes.stream import PassFacts, stream
from globalprune.progress import Progress, silent
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Collected:
    """One float64 number for every group and every statistic, and what the pass was."""

    sums: dict[Statistic, GroupSums]
    facts: PassFacts


def collect(
    model: Any,
    windows: TokenWindows,
    sites: Sequence[Site],
    needs: Collection[Statistic],
    *,
    batch_size: int,
    draw: LabelDraw | None = None,
    progress: Progress = silent,
) -> Collected:
    """Collect what is needed and no more: no backward pass unless a gradient is asked for."""
    reducers = _reducers(needs)
    facts = stream(
        model, windows, sites, reducers, batch_size=batch_size, draw=draw, progress=progress
    )
    sums: dict[Statistic, GroupSums] = {}
    for reducer in reducers:
        sums.update(reducer.finish(facts.windows))
    if "magnitude" in needs:
        sums["magnitude"] = magnitudes(sites)
    return Collected(sums, facts)


def _reducers(needs: Collection[Statistic]) -> list[Reducer]:
    """The reducers that make these statistics, each product of gradients formed once."""
    reducers: list[Reducer] = []
    if "curvature" in needs:
        reducers.append(Curvature(FirstOrder() if "first_order" in needs else None))
    elif "first_order" in needs:
        reducers.append(FirstOrder())
    if "gate_fisher" in needs:
        reducers.append(GateFisher())
    if "gate_fisher_winsorised" in needs:
        reducers.append(WinsorisedGateFisher())
    if "input_rms" in needs:
        reducers.append(InputRms())
    return reducers
