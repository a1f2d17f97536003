"""Trial removals along an order, and the KL divergence that each one costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.compensate import VALIDATION_EVERY
from globalprune.compensation.ridge import NormalEquations, ridge_towards
from globalprune.errors import NonFiniteError
from globalprune.obs.removal_order import RemovalOrder
from globalprune.progress import Progress
from globalprune.statistics.interface import SublayerKey, sublayer_name
from globalprune.sublayers.residual_stream import StreamBatch, SublayerModel, stream_batches
from globalprune.sublayers.sublayer import Sublayer, start_at_layer
from globalprune.text.windows import TokenWindows, batches

SHARES: Final = (0.25, 0.6)  # of a sublayer's groups, that a trial removes
VALIDATION_TOKENS: Final = 2048  # about so many validate; the other windows are fitted to
_NEGLIGIBLE: Final = 1e-9  # of a sublayer's whole loss: groups below it are gone already
_STRENGTH: Final = 0.1  # of the ridge: what validation windows choose in most sublayers
_REMOVED, _NATS = "removed groups", "nats"

Trials = dict[SublayerKey, dict[int, float]]  # nats per token by the number of removed groups


@dataclass
class ValidationBatch:
    """A batch of validation windows, and what the uncut model predicts for them."""

    ids: torch.Tensor  # [B, T]
    log_probabilities: torch.Tensor  # [B, T, V], in host memory
    stream: torch.Tensor  # [B, T, D]: the residual stream before the layer under trial


@torch.no_grad()
def removal_trials(
    model: SublayerModel,
    windows: TokenWindows,
    orders: Mapping[SublayerKey, RemovalOrder],
    *,
    batch_size: int,
    kept: RunFolder | None = None,
    progress: Progress,
) -> Trials:
    """Measure KL(model || cut model) after a few removals from every sublayer that has an order.

    There are two windows at least: some validate, and the cut is compensated on the others. Trials
    found in `kept` are not run again, and new ones are kept there. Raises `NonFiniteError` where a
    cut model's predictions are not finite.
    """
    streams = stream_batches(
        model, windows, batch_size=batch_size, held_out_every=_held_out_every(windows.rows)
    )
    validation = validation_batches(model, windows, streams, batch_size)
    last = max(layer for layer, _ in orders)
    needed = [sublayer for sublayer in model.sublayers if sublayer.key[0] <= last]
    trials: Trials = {}
    for sublayer in progress(needed, total=len(needed), label="trying removals", unit="sublayers"):
        output, key = sublayer.output, sublayer.key
        layer, group_type = key
        if group_type == "attention":
            _enter_layer(streams, validation)
        tensors = None if kept is None else kept.load_tensors(sublayer_name(key))
        if tensors is not None or output is None or key not in orders:
            for batch in streams:
                batch.dense = sublayer.advance(batch.dense, batch.calls)
            if tensors is not None:
                removed, nats = tensors[_REMOVED].tolist(), tensors[_NATS].tolist()
                trials[key] = dict(zip(removed, nats, strict=True))
            continue
        trials[key] = {}
        moments = _advance(sublayer, output, streams)
        for count, weight in _trial_weights(sublayer, output, orders[key], moments):
            with _replaced_weight(output, weight):
                nats = kl_divergence(model, layer, validation)
            trials[key][count] = _checked(nats, key)
        if kept is not None:
            kept.save_tensors(sublayer_name(key), _to_tensors(trials[key]))
    return trials


def validation_batches(
    model: SublayerModel, windows: TokenWindows, streams: Sequence[StreamBatch], batch_size: int
) -> list[ValidationBatch]:
    """The windows that the streams hold out, with what the model predicts for them."""
    found = []
    for ids, stream in zip(batches(windows, batch_size), streams, strict=True):
        chosen = ids[stream.held_out]
        if len(chosen):
            logits = model.module(chosen.to(model.module.device), use_cache=False).logits
            predicted = functional.log_softmax(logits.float(), dim=-1).cpu()
            found.append(ValidationBatch(chosen, predicted, stream.dense[stream.held_out]))
    return found


def kl_divergence(model: SublayerModel, first: int, validation: Sequence[ValidationBatch]) -> float:
    """KL(uncut model || model with its present weights from layer `first` on), nats per token."""
    total, tokens = 0.0, 0
    for batch in validation:
        with start_at_layer(model.layers, first, batch.stream):
            logits = model.module(batch.ids.to(model.module.device), use_cache=False).logits
        for expected, row in zip(batch.log_probabilities, logits, strict=True):  # window by window
            ours = functional.log_softmax(row.float(), dim=-1)
            theirs = expected.to(ours.device)
            total += float(functional.kl_div(ours, theirs, reduction="sum", log_target=True))
        tokens += batch.ids.numel()
    return total / tokens


def trial_counts(losses: torch.Tensor) -> list[int]:
    """How many groups trials remove along an order with these losses.

    The shares are of the groups that have a loss: groups that a prior plan removed are gone in
    every trial.
    """
    cumulative = losses.cumsum(0)
    gone = int((cumulative <= _NEGLIGIBLE * cumulative[-1]).sum())
    remaining = len(losses) - gone
    return sorted({gone + max(1, round(share * remaining)) for share in SHARES if remaining})


def _held_out_every(rows: Sequence[torch.Tensor]) -> int:
    """One window of how many validates."""
    length = sum(map(len, rows)) / len(rows)
    count = max(1, min(round(VALIDATION_TOKENS / length), len(rows) // VALIDATION_EVERY))
    return len(rows) // count


def _enter_layer(streams: Sequence[StreamBatch], validation: Sequence[ValidationBatch]) -> None:
    """Take over the streams of validation windows; the batches stand in front of a layer."""
    entering = (batch.dense[batch.held_out] for batch in streams if bool(batch.held_out.any()))
    for batch, stream in zip(validation, entering, strict=True):
        batch.stream = stream


def _advance(sublayer: Sublayer, output: nn.Linear, streams: Sequence[StreamBatch]) -> torch.Tensor:
    """Run the stream through a sublayer; return Σ a·aᵀ over the windows that are fitted to."""
    sums = NormalEquations(output.in_features, 0, sublayer.device)
    for batch in streams:
        inputs = batch.advance_by_inputs(sublayer, output)
        fitted = batch.tokens(inputs, held_out=False)
        sums.add(fitted, fitted[:, :0])
    return sums.gram


def _trial_weights(
    sublayer: Sublayer, output: nn.Linear, order: RemovalOrder, moments: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the number of removed groups, and the compensated output weight `[O, n]`."""
    weight = output.weight.detach()
    for count in trial_counts(order.losses):
        trial = torch.zeros_like(weight)
        kept = IndexSet.of(order.groups[count:].tolist())
        if kept:
            columns = sublayer.columns(kept).to(weight.device)
            equations = NormalEquations(len(columns), len(weight), weight.device)
            equations.gram = moments[columns][:, columns]
            equations.cross = moments[columns] @ weight.double().T
            solution = ridge_towards(equations, weight[:, columns].T, _STRENGTH)
            trial[:, columns] = solution.T.to(trial)
        yield count, trial


@contextmanager
def _replaced_weight(output: nn.Linear, weight: torch.Tensor) -> Iterator[None]:
    """While inside, the projection has this weight."""
    own = output.weight.data
    output.weight.data = weight
    try:
        yield
    finally:
        output.weight.data = own


def _checked(nats: float, key: SublayerKey) -> float:
    """A divergence, never below zero by rounding; raise `NonFiniteError` if it is not finite."""
    if not math.isfinite(nats):
        layer, group_type = key
        raise NonFiniteError(
            f"trying removals: without a part of the {group_type} of layer {layer} the model's "
            "predictions are not finite; try --dtype float32 (or bfloat16)."
        )
    return max(nats, 0.0)


def _to_tensors(trials: Mapping[int, float]) -> dict[str, torch.Tensor]:
    """A sublayer's trials as they are kept."""
    return {
        _REMOVED: torch.tensor(list(trials), dtype=torch.int64),
        _NATS: torch.tensor(list(trials.values()), dtype=torch.float64),
    }
