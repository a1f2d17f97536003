"""The model's own head: whatever its class does between the last hidden states and the logits.

Scales, caps and biases belong to the loss, so none is written down again here. The class's own
forward runs, with a base model that gives hidden states as they are handed to it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from globalprune.errors import UnsupportedArchitecture
from globalprune.passes.interface import widened

_TOKENS: Final = 32  # of a window that shows whether the head is whole
_ROUNDING: Final = 8  # times the rounding of a dtype, or of float32 at the least


@dataclass(frozen=True)
class Head:
    """Makes logits `[rows, V]` of hidden states `[rows, D]`, and of no others at the same time."""

    logits: Callable[[torch.Tensor], torch.Tensor]
    vocabulary: int  # V


def hidden_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """What enters the head for the windows `ids [B, T]`: `[B, T, D]`."""
    hidden: torch.Tensor = _base_output(model, ids).last_hidden_state
    return hidden


def head_of(model: Any, window: torch.Tensor) -> Head:
    """The head of a causal language model, once it is shown on a `window [T]` that it is one.

    Raise `UnsupportedArchitecture` where it doesn't make the model's logits of hidden states alone.
    """
    ids = window[None, :_TOKENS].to(model.device)
    with torch.no_grad():
        base = _base_output(model, ids)
        kind = type(base)

        def logits(rows: torch.Tensor) -> torch.Tensor:
            with _base_that_gives(model, kind(last_hidden_state=rows[None])):
                made: torch.Tensor = model(use_cache=False, return_dict=True).logits
            return made[0]

        expected = model(input_ids=ids, use_cache=False, return_dict=True).logits[0]
        found = logits(base.last_hidden_state[0])
    _compare(model, found, expected)
    return Head(logits, expected.shape[-1])


@contextmanager
def widened_head(model: Any) -> Iterator[None]:
    """While inside, the head computes in float32 or wider; nothing else of the model may run."""
    parameters = list(model.get_output_embeddings().parameters())
    own = [parameter.data for parameter in parameters]
    for parameter in parameters:
        parameter.data = widened(parameter.data)
    try:
        yield
    finally:
        for parameter, before in zip(parameters, own, strict=True):
            parameter.data = before


def _base_output(model: Any, ids: torch.Tensor) -> Any:
    """What the model below the head gives."""
    return model.base_model(input_ids=ids, use_cache=False, return_dict=True)


@contextmanager
def _base_that_gives(model: Any, output: Any) -> Iterator[None]:
    """While inside, the model below the head gives this instead of running."""
    base = model.base_model
    own = vars(base).get("forward")
    base.forward = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        if own is None:
            del base.forward  # the class's own shows through again
        else:
            base.forward = own


def _compare(model: Any, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Refuse a head that makes other logits than the model; what isn't finite is named later."""
    found, expected = widened(found), widened(expected)
    if not bool(expected.isfinite().all()):
        return
    rounding = max(torch.finfo(model.dtype).eps, torch.finfo(torch.float32).eps)
    off = float((found - expected).norm() / expected.norm().clamp(min=rounding))
    if not off <= _ROUNDING * rounding:
        raise UnsupportedArchitecture(
            f"{type(model).__name__}: its logits are not what its head makes of the last hidden "
            f"states (they differ by {off:.1%}), so its loss can't be measured piece by piece."
        )
