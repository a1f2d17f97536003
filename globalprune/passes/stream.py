"""One pass of windows through a model, past any number of reducers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from globalprune.passes.head import Head, head_of, hidden_states
from globalprune.passes.hooks import Watch, frozen
from globalprune.passes.interface import Batch, Site, StatisticReducer
from globalprune.passes.kept_pass import KeptPass, SoFar
from globalprune.passes.labels import LabelDraw
from globalprune.passes.loss import head_gradient
from globalprune.progress import Progress
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
