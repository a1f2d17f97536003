"""Trial removals along an order, and the KL divergence that each costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.ridge import NormalEquations, towards_prior
from globalprune.compensation.split import HELD_OUT_EVERY
from globalprune.errors import NonFiniteError
from globalprune.obs.removal_order import RemovalOrder
from globalprune.progress import Progress
from globalprune.statistics.interface import SublayerKey, sublayer_name
from globalprune.sublayers.residual_stream import StreamBatch, stream_batches
from globalprune.sublayers.sublayer import Sublayer, entered_at
from globalprune.text.windows import TokenWindows, batches


@dataclass
class JudgedBatch:
    """A batch of windows that judge, and what the model as it was says to them."""

    ids: torch.Tensor  # [B, T]
    log_probabilities: torch.Tensor  # [B, T, V], in host memory
    entering: torch.Tensor  # [B, T, D]: the stream that enters the layer at work


def judged_batches(
    model: Any, windows: TokenWindows, streams: Sequence[StreamBatch], batch_size: int
) -> list[JudgedBatch]:
    """The windows that the streams hold out, with what the model says to them."""
    found = []
    for ids, stream in zip(batches(windows, batch_size), streams, strict=True):
        chosen = ids[stream.held_out]
        if len(chosen):
            logits = model(chosen.to(model.device), use_cache=False).logits
            said = functional.log_softmax(logits.float(), dim=-1).cpu()
            found.append(JudgedBatch(chosen, said, stream.dense[stream.held_out]))
    return found


def enter_layer(streams: Sequence[StreamBatch], judged: Sequence[JudgedBatch]) -> None:
    """Note what of the streams, which stand before a layer now, belongs to windows that judge."""
    entering = (batch.dense[batch.held_out] for batch in streams if bool(batch.held_out.any()))
    for batch, stream in zip(judged, entering, strict=True):
        batch.entering = stream


def divergence(
    model: Any, layers: Sequence[nn.Module], first: int, judged: Sequence[JudgedBatch]
) -> float:
    """KL(model || model as its weights are now, from layer `first` on), in nats a token."""
    total, tokens = 0.0, 0
    for batch in judged:
        with entered_at(layers, first, batch.entering):
            logits = model(batch.ids.to(model.device), use_cache=False).logits
        for said, row in zip(batch.log_probabilities, logits, strict=True):  # a window's at a time
            ours = functional.log_softmax(row.float(), dim=-1)
            theirs = said.to(ours.device)
            total += float(functional.kl_div(ours, theirs, reduction="sum", log_target=True))
        tokens += batch.ids.numel()
    return total / tokens


SHARES: Final = (0.25, 0.6)  # of a sublayer's groups, that a trial removes
_FREE: Final = 1e-9  # of a sublayer's whole loss: so little is nothing
JUDGING_TOKENS: Final = 2048  # about so many judge; the other windows are fitted to
_STRENGTH: Final = 0.1  # of the ridge: what held-out windows choose in most sublayers

_REMOVED, _NATS = "removed groups", "nats"

Trials = dict[SublayerKey, dict[int, float]]  # by groups removed: nats a token


@torch.no_grad()
def removal_trials(
    model: Any,
    layers: Sequence[nn.Module],
    sublayers: Sequence[Sublayer],
    windows: TokenWindows,
    orders: Mapping[SublayerKey, RemovalOrder],
    *,
    batch_size: int,
    kept: RunFolder | None = None,
    progress: Progress,
) -> Trials:
    """Measure KL(model || cut model) behind a few removals of every sublayer that has an order.

    Of the windows, two at least, one in so many judges and the others are fitted to. What was
    `kept` isn't tried again.
    """
    streams = stream_batches(
        model, layers, windows, batch_size=batch_size, every=_every(windows.rows)
    )
    judged = judged_batches(model, windows, streams, batch_size)
    last = max(layer for layer, _ in orders)
    needed = [sublayer for sublayer in sublayers if sublayer.place[0] <= last]
    found: Trials = {}
    for sublayer in progress(needed, total=len(needed), label="trying removals", unit="sublayers"):
        layer, group_type = sublayer.place
        if group_type == "attention":
            enter_layer(streams, judged)
        output, place = sublayer.output, sublayer.place
        known = None if kept is None else kept.find_tensors(sublayer_name(place))
        if known is not None or output is None or place not in orders:
            for batch in streams:
                batch.dense = sublayer.through(batch.dense, batch.calls)
            if known is not None:
                removed, nats = known[_REMOVED].tolist(), known[_NATS].tolist()
                found[place] = dict(zip(removed, nats, strict=True))
            continue
        found[place] = {}
        moments = _advance(sublayer, output, streams)
        for count, trial in _trials(sublayer, output, orders[place], moments):
            with _weighing(output, trial):
                found[place][count] = _credible(divergence(model, layers, layer, judged), place)
        if kept is not None:
            kept.keep_tensors(sublayer_name(place), _tensors(found[place]))
    return found


def counts_tried(losses: torch.Tensor) -> list[int]:
    """How many groups trials take along an order of these losses.

    Shares are of the groups that cost something: what a plan has taken already is gone in all of
    them.
    """
    spent = losses.cumsum(0)
    gone = int((spent <= _FREE * spent[-1]).sum())
    standing = len(losses) - gone
    return sorted({gone + max(1, round(share * standing)) for share in SHARES if standing})


def _credible(nats: float, place: SublayerKey) -> float:
    """A divergence without what rounding makes of none; raise `NonFiniteError` for no number."""
    if not math.isfinite(nats):
        layer, group_type = place
        raise NonFiniteError(
            f"trying removals: without a part of the {group_type} of layer {layer} the model says "
            "nothing finite; try --dtype float32 (or bfloat16)."
        )
    return max(nats, 0.0)


def _every(rows: Sequence[torch.Tensor]) -> int:
    """One window of how many judges."""
    length = sum(map(len, rows)) / len(rows)
    judging = max(1, min(round(JUDGING_TOKENS / length), len(rows) // HELD_OUT_EVERY))
    return len(rows) // judging


def _tensors(tried: Mapping[int, float]) -> dict[str, torch.Tensor]:
    """A sublayer's trials as they are kept."""
    return {
        _REMOVED: torch.tensor(list(tried), dtype=torch.int64),
        _NATS: torch.tensor(list(tried.values()), dtype=torch.float64),
    }


def _advance(sublayer: Sublayer, output: nn.Linear, streams: Sequence[StreamBatch]) -> torch.Tensor:
    """Take the stream through one sublayer; return Σ a·aᵀ of the windows that are fitted to."""
    sums = NormalEquations(output.in_features, 0, sublayer.device)
    for batch in streams:
        stream = batch.dense.to(sublayer.device)
        inputs = sublayer.inputs(stream, batch.calls)
        fitted = batch.tokens(inputs, held_out=False)
        sums.add(fitted, fitted[:, :0])
        made = functional.linear(inputs, output.weight, output.bias)
        batch.dense = (stream + sublayer.joined(made)).cpu()
    return sums.gram


def _trials(
    sublayer: Sublayer, output: nn.Linear, order: RemovalOrder, moments: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield how many groups go, and the output weight `[O, n]` that is solved for the others."""
    weight = output.weight.detach()
    for count in counts_tried(order.losses):
        trial = torch.zeros_like(weight)
        kept = order.groups[count:].sort().values.tolist()
        if kept:
            columns = sublayer.columns(kept).to(weight.device)
            equations = NormalEquations(len(columns), len(weight), weight.device)
            equations.gram = moments[columns][:, columns]
            equations.cross = moments[columns] @ weight.double().T
            solved = towards_prior(equations, weight[:, columns].T, _STRENGTH)
            trial[:, columns] = solved.T.to(trial)
        yield count, trial


@contextmanager
def _weighing(output: nn.Linear, weight: torch.Tensor) -> Iterator[None]:
    """While inside, the projection has this weight."""
    own = output.weight.data
    output.weight.data = weight
    try:
        yield
    finally:
        output.weight.data = own
