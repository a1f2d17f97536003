"""What a model hands to its decoder layers, so that a half of one of them can be run by itself.

Masks, rotary embeddings and whatever else a family passes along are taken from a call of the model
itself and never made up here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class LayerCalls:
    """One batch's way into the layers."""

    entering: torch.Tensor  # [B, T, D]: the residual stream before the first layer
    beside: tuple[dict[str, Any], ...]  # of every layer: the keyword arguments beside the stream


def layer_calls(model: Any, layers: Sequence[nn.Module], ids: torch.Tensor) -> LayerCalls:
    """Call the model on `ids [B, T]` with layers that only note what they are called with."""
    noted: list[tuple[torch.Tensor, dict[str, Any]]] = []
    with torch.no_grad(), _only_noting(layers, noted):
        model.base_model(input_ids=ids, use_cache=False)
    return LayerCalls(noted[0][0], tuple(beside for _, beside in noted))


@contextmanager
def _only_noting(
    layers: Sequence[nn.Module], noted: list[tuple[torch.Tensor, dict[str, Any]]]
) -> Iterator[None]:
    """While inside, a layer notes its call and hands the stream on as it is."""

    def forward(hidden_states: torch.Tensor, **beside: Any) -> torch.Tensor:
        noted.append((hidden_states, beside))
        return hidden_states

    with _replaced(layers, forward):
        yield


@contextmanager
def entered_at(layers: Sequence[nn.Module], first: int, stream: torch.Tensor) -> Iterator[None]:
    """While inside, a call of the model begins in layer `first`, with `stream [B, T, D]`."""

    def forward(hidden_states: torch.Tensor, **_beside: Any) -> torch.Tensor:
        return stream.to(hidden_states.device)

    with _replaced(layers[:first], forward):
        yield


@contextmanager
def _replaced(layers: Sequence[nn.Module], forward: Callable[..., torch.Tensor]) -> Iterator[None]:
    """While inside, the layers do this instead; a forward of a layer's own comes back after."""
    own = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer, before in zip(layers, own, strict=True):
            if before is None:
                del layer.forward  # the class's own shows through again
            else:
                layer.forward = before
