"""How far a model that was changed from some layer on diverges from what it said before.

Only the layers behind the change are run again, on the stream that used to enter there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from globalprune.passes.halves.layer_calls import entered_at
from globalprune.passes.halves.streams import StreamBatch
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
