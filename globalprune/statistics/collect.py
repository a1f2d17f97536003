"""One pass of windows through a model, and the statistics that it collects."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from globalprune.progress import Progress, silent
from globalprune.statistics.checkpointing import KeptPass, SoFar
from globalprune.statistics.hooks import Watch, frozen
from globalprune.statistics.interface import (
    Batch,
    Collectable,
    Counts,
    GroupSums,
    Site,
    Split,
    Statistic,
    StatisticReducer,
)
from globalprune.statistics.loss import Head, LabelDraw, head_gradient, head_of, hidden_states
from globalprune.statistics.reducers.activations import InputRms, magnitudes
from globalprune.statistics.reducers.fisher import GateFisher, OutputCurvature, WinsorisedGateFisher
from globalprune.statistics.reducers.taylor import Curvature, FirstOrder
from globalprune.text.windows import TokenWindows, batches


@dataclass(frozen=True)
class PassFacts:
    """What ran, and how well the model predicted it."""

    windows: int
    loss: float | None  # nats a predicted token; None where no head was needed


def stream(
    model: Any,
    windows: TokenWindows,
    sites: Sequence[Site],
    reducers: Sequence[StatisticReducer],
    *,
    batch_size: int,
    draw: LabelDraw | None = None,
    halfway: Callable[[], None] | None = None,
    kept: KeptPass | None = None,
    progress: Progress,
) -> PassFacts:
    """Run every window once: forward, and backward if a reducer wants gradients.

    Gradients are those of the text's own next tokens, or of labels that `draw` draws; the loss
    that is told is always the text's. `halfway` is called between the halves of several windows.
    What was `kept` isn't run again. The model is as before when this ends. Raise `NonFiniteError`
    at the first such number.
    """
    middle = len(windows.rows) if halfway is None else midpoint(len(windows.rows))
    so_far = SoFar() if kept is None else kept.restore(reducers, sites)
    rounds = _rounds(windows, middle, batch_size) if reducers else []  # nobody watches: no pass
    rounds = _behind(rounds, so_far.windows)
    backward = any(reducer.gradient_at for reducer in reducers)
    watch = Watch(reducers)
    with frozen(model), torch.set_grad_enabled(backward):
        head = head_of(model, windows.rows[0]) if backward and rounds else None
        with watch.on(sites):
            for ids in progress(rounds, total=len(rounds), label="measuring", unit="batches"):
                count, predicted = ids.shape[0], ids.shape[1] - 1
                watch.batch = Batch(so_far.windows, count, predicted)
                nll = _run(model, ids.to(model.device), watch, head, draw)
                so_far = so_far.after(windows=count, predicted=count * predicted, nll=nll)
                if halfway is not None and so_far.windows == middle < len(windows.rows):
                    halfway()
                if kept is not None:
                    kept.offer(reducers, so_far, ended=so_far.windows == len(windows.rows))
    loss = so_far.nll / so_far.predicted if backward else None
    return PassFacts(windows=so_far.windows, loss=loss)


def midpoint(windows: int) -> int:
    """How many of so many windows are the first half."""
    return (windows + 1) // 2


def _rounds(windows: TokenWindows, middle: int, batch_size: int) -> list[torch.Tensor]:
    """The batches, none of which reaches over the middle."""
    parts = (windows.rows[:middle], windows.rows[middle:])
    return [ids for rows in parts for ids in batches(replace(windows, rows=rows), batch_size)]


def _behind(rounds: list[torch.Tensor], windows: int) -> list[torch.Tensor]:
    """The batches after the first ones, which hold so many windows."""
    for number, ids in enumerate(rounds):
        if windows <= 0:
            return rounds[number:]
        windows -= len(ids)
    return []


def _run(
    model: Any, ids: torch.Tensor, watch: Watch, head: Head | None, draw: LabelDraw | None
) -> float:
    """Run one batch, backward if there is a `head`; return its summed nll, 0 if there is none."""
    hidden = hidden_states(model, ids)
    watch.finite.settle(watch.batch)
    if head is None:
        return 0.0
    start = head_gradient(head, hidden, ids, draw, first_window=watch.batch.first_window)
    watch.finite.note("the loss", start.nll[:, None])
    watch.finite.settle(watch.batch)
    watch.batch = replace(watch.batch, scale=start.scale)
    torch.autograd.backward(hidden, start.gradient)
    watch.finite.settle(watch.batch)
    return float(start.nll.sum())


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
