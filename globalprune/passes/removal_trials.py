"""Tries removals: cuts one half alone, solves its output anew, and measures the divergence.

What is predicted for a half from curvature holds up to a factor that differs between halves: at
the end of a model a loss is easily twice what was predicted. A few trials of each half tell that
factor. What follows from them for single groups is no business of this file.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.compensation.normal_equations import NormalEquations
from globalprune.compensation.removal_order import RemovalOrder
from globalprune.compensation.ridge import towards_prior
from globalprune.errors import UsageError
from globalprune.passes.halves import RunningHalf
from globalprune.passes.interface import Half
from globalprune.passes.layer_calls import entered_at
from globalprune.passes.stream_repair import columns_of
from globalprune.passes.streams import StreamBatch, stream_batches
from globalprune.progress import Progress
from globalprune.text.windows import TokenWindows, batches

SHARES: Final = (0.25, 0.6)  # of a half's groups, that a trial removes
JUDGING_TOKENS: Final = 2048  # about so many judge; the other windows are fitted to
_STRENGTH: Final = 0.1  # of the ridge: what held-out windows choose in most halves

Trials = dict[Half, dict[int, float]]  # by groups removed: nats a token


@dataclass
class _Judged:
    """A batch of windows that judge: their ids, and log-probabilities `[B, T, V]` of the model."""

    ids: torch.Tensor
    dense: torch.Tensor
    entering: torch.Tensor  # [B, T, D]: the stream at the beginning of the layer at work


@torch.no_grad()
def removal_trials(
    model: Any,
    layers: Sequence[nn.Module],
    halves: Sequence[RunningHalf],
    windows: TokenWindows,
    orders: Mapping[Half, RemovalOrder],
    *,
    batch_size: int,
    progress: Progress,
) -> Trials:
    """Measure KL(model || cut model) behind a few removals of every half that has an order.

    Raise `UsageError` for a single window, which can't be both fitted to and judged by.
    """
    streams = stream_batches(
        model, layers, windows, batch_size=batch_size, every=_every(windows.rows)
    )
    judged = _judged(model, windows, streams, batch_size)
    last = max(layer for layer, _ in orders)
    needed = [half for half in halves if half.place[0] <= last]
    found: Trials = {}
    for half in progress(needed, total=len(needed), label="trying removals", unit="halves"):
        layer, group_type = half.place
        if group_type == "attention":
            _enter(streams, judged)
        output, moments = half.output, _advance(half, streams)
        if output is None or moments is None or half.place not in orders:
            continue
        place, found[half.place] = half.place, {}
        for count, trial in _trials(output, half.width, orders[place].groups, moments):
            with _weighing(output, trial):
                found[place][count] = _divergence(model, layers, layer, judged)
    return found


def counts_tried(groups: int) -> list[int]:
    """How many groups the trials of a half of so many take."""
    return sorted({max(1, round(share * groups)) for share in SHARES})


def _every(rows: Sequence[torch.Tensor]) -> int:
    """One window of how many judges."""
    if len(rows) < 2:  # noqa: PLR2004 - one to fit to, one to judge by
        raise UsageError(
            "--importance obs_measured: a single window of text can't be both fitted to and judged "
            "by; say --samples 2 at least, better 128."
        )
    length = sum(map(len, rows)) / len(rows)
    judging = min(max(1, round(JUDGING_TOKENS / length)), len(rows) // 2)
    return len(rows) // judging


def _judged(
    model: Any, windows: TokenWindows, streams: Sequence[StreamBatch], batch_size: int
) -> list[_Judged]:
    """The windows that are held out, with what the model says to them."""
    found = []
    for ids, stream in zip(batches(windows, batch_size), streams, strict=True):
        chosen = ids[stream.held_out]
        if len(chosen):
            logits = model(chosen.to(model.device), use_cache=False).logits
            dense = functional.log_softmax(logits.float(), dim=-1).cpu()
            found.append(_Judged(chosen, dense, stream.dense[stream.held_out]))
    return found


def _enter(streams: Sequence[StreamBatch], judged: Sequence[_Judged]) -> None:
    """Note the stream that the windows which judge bring into a layer."""
    entering = (batch.dense[batch.held_out] for batch in streams if bool(batch.held_out.any()))
    for batch, stream in zip(judged, entering, strict=True):
        batch.entering = stream


def _advance(half: RunningHalf, streams: Sequence[StreamBatch]) -> torch.Tensor | None:
    """Take the stream through one half; return Σ a·aᵀ of the windows that are fitted to."""
    if half.output is None:
        for batch in streams:
            batch.dense = half.through(batch.dense, batch.calls)
        return None
    output = half.output
    sums = NormalEquations(output.in_features, 0, half.device)
    for batch in streams:
        stream = batch.dense.to(half.device)
        inputs = half.inputs(stream, batch.calls)
        fitted = batch.tokens(inputs, held_out=False)
        sums.add(fitted, fitted[:, :0])
        batch.dense = (stream + functional.linear(inputs, output.weight, output.bias)).cpu()
    return sums.gram


def _trials(
    output: nn.Linear, width: int, order: torch.Tensor, moments: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield how many groups go, and the output weight `[O, n]` that is solved for the others."""
    weight = output.weight.detach()
    for count in counts_tried(len(order)):
        trial = torch.zeros_like(weight)
        kept = order[count:].sort().values.tolist()
        if kept:
            columns = columns_of(kept, width).to(weight.device)
            equations = NormalEquations(len(columns), len(weight), weight.device)
            equations.gram = moments[columns][:, columns]
            equations.cross = moments[columns] @ weight.double().T
            solved = towards_prior(equations, weight[:, columns].T, _STRENGTH)
            trial[:, columns] = solved.T.to(trial)
        yield count, trial


def _divergence(
    model: Any, layers: Sequence[nn.Module], first: int, judged: Sequence[_Judged]
) -> float:
    """KL(model || model as its weights are now, from layer `first` on), in nats a token."""
    total, tokens = 0.0, 0
    for batch in judged:
        with entered_at(layers, first, batch.entering):
            logits = model(batch.ids.to(model.device), use_cache=False).logits
        for dense, cut in zip(batch.dense, logits, strict=True):  # a window's at a time
            ours = functional.log_softmax(cut.float(), dim=-1)
            theirs = dense.to(ours.device)
            total += float(functional.kl_div(ours, theirs, reduction="sum", log_target=True))
        tokens += batch.ids.numel()
    return total / tokens


@contextmanager
def _weighing(output: nn.Linear, weight: torch.Tensor) -> Iterator[None]:
    """While inside, the projection has this weight."""
    own = output.weight.data
    output.weight.data = weight
    try:
        yield
    finally:
        output.weight.data = own
