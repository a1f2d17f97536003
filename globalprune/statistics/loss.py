"""The loss of a window, its gradient at the head, and labels drawn from the model.

The model's own head computes the logits in pieces; once a run it is compared with the whole model.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from globalprune.errors import UnsupportedArchitecture
from globalprune.statistics.interface import widened

CHUNK_LOGITS: Final = 2**25  # logits at a time: 128 MiB in float32
FLOAT16_HEAD_SCALE: Final = 2.0**8  # probabilities down to 2e-10 still have a gradient
CHUNK_TOKENS: Final = 128  # tokens whose log-softmax is taken at once
_COMPARED_TOKENS: Final = 32  # of the window that the head is compared on
_ROUNDINGS: Final = 8  # that the head may differ by: times the dtype's, or float32's if larger

Sampler = Callable[[torch.Tensor], torch.Tensor]  # logits [rows, vocabulary] -> labels [rows]


@dataclass(frozen=True)
class LabelDraw:
    """Draws one label a token from the model; each window has its own generator.

    So labels don't depend on the batch size. A seed draws other labels on a GPU than on a CPU.
    """

    seed: int

    def sampler(self, window: int, device: torch.device) -> Sampler:
        """Return the sampler of one window, which takes its logits in order."""
        generator = torch.Generator(device)
        generator.manual_seed(int(np.random.SeedSequence((self.seed, window)).generate_state(1)[0]))

        def sample(logits: torch.Tensor) -> torch.Tensor:
            return draw_labels(logits, generator)

        return sample


def draw_labels(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw by a race of exponential clocks with the probabilities as rates (Gumbel-max).

    Rounding changes a label only where two clocks nearly tie. Inverting the cumulative distribution
    is sensitive to rounding wherever many tokens are rare.
    """
    clocks = torch.empty_like(logits).exponential_(generator=generator)
    return logits.softmax(dim=-1).div_(clocks).argmax(dim=-1)


@dataclass(frozen=True)
class Head:
    """Computes the logits `[rows, V]` of hidden states `[rows, D]`; not reentrant."""

    logits: Callable[[torch.Tensor], torch.Tensor]
    vocabulary: int  # V


def hidden_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return what enters the head for the windows `ids [B, T]`: `[B, T, D]`."""
    hidden: torch.Tensor = _base_output(model, ids).last_hidden_state
    return hidden


def head_of(model: Any, window: torch.Tensor) -> Head:
    """Return the head of a causal language model, compared with the model on a `window [T]`.

    Raises:
        UnsupportedArchitecture: the model's logits aren't its head's of the last hidden states.
    """
    ids = window[None, :_COMPARED_TOKENS].to(model.device)
    with torch.no_grad():
        base = _base_output(model, ids)
        kind = type(base)

        def logits(rows: torch.Tensor) -> torch.Tensor:
            with _base_returns(model, kind(last_hidden_state=rows[None])):
                computed: torch.Tensor = model(use_cache=False, return_dict=True).logits
            return computed[0]

        expected = model(input_ids=ids, use_cache=False, return_dict=True).logits[0]
        actual = logits(base.last_hidden_state[0])
    _refuse_other_logits(model, actual, expected)
    return Head(logits, expected.shape[-1])


@contextmanager
def widened_head(model: Any) -> Iterator[None]:
    """Let the head compute in float32 or wider while inside; nothing else of the model may run."""
    parameters = list(model.get_output_embeddings().parameters())
    own = [parameter.data for parameter in parameters]
    for parameter in parameters:
        parameter.data = widened(parameter.data)
    try:
        yield
    finally:
        for parameter, before in zip(parameters, own, strict=True):
            parameter.data = before


@dataclass(frozen=True)
class HeadGradient:
    """The gradient that the backward pass of a batch begins with."""

    gradient: torch.Tensor  # [B, T, D]: scale · ∂(Σ_s L_s)/∂hidden, in the dtype of hidden
    scale: float
    nll: torch.Tensor  # float64 [B]: summed over a window's predicted tokens


def head_gradient(
    head: Head,
    hidden: torch.Tensor,
    ids: torch.Tensor,
    draw: LabelDraw | None = None,
    *,
    first_window: int = 0,
) -> HeadGradient:
    """Return the gradient of Σ_s L_s at `hidden [B, T, D]`, L_s a mean over T - 1 predicted tokens.

    With `draw` the gradient is that of labels drawn from the model itself; `nll` stays the text's.
    In float16 the gradient is scaled by the power of two that puts its largest entry just below
    one: unscaled, a mean over hundreds of tokens underflows long before the first layer.
    """
    windows, length, width = hidden.shape
    predicted = length - 1
    rows = hidden.detach()[:, :-1].reshape(-1, width)
    targets = ids[:, 1:].reshape(-1)
    is_float16 = hidden.dtype == torch.float16
    head_scale = FLOAT16_HEAD_SCALE if is_float16 else 1.0
    if draw is None:
        gradient, nll = _in_chunks(head, rows, targets, head_scale)
    else:  # window by window, so that labels don't depend on the batch
        pieces = zip(hidden.detach()[:, :-1], ids[:, 1:], strict=True)
        parts = [
            _in_chunks(head, *piece, head_scale, draw.sampler(window, hidden.device))
            for window, piece in enumerate(pieces, first_window)
        ]
        gradient, nll = (torch.cat(part) for part in zip(*parts, strict=True))
    gradient = gradient.div_(predicted).reshape(windows, predicted, width)
    scale = _scale_to_one(gradient) if is_float16 else 1.0
    whole = hidden.new_zeros(hidden.shape)  # the last token of a window predicts nothing
    whole[:, :-1] = gradient.mul_(scale).to(hidden.dtype)
    return HeadGradient(whole, scale, nll.reshape(windows, predicted).sum(dim=1))


def window_losses(model: Any, ids: torch.Tensor) -> list[float]:
    """Return the summed next-token cross-entropy of each window of a batch `[B, T]`, in nats."""
    logits = model(input_ids=ids, use_cache=False).logits
    sums = [  # float32 logits of the whole batch could be the largest tensor of all
        functional.cross_entropy(
            logits[row, start : start + CHUNK_TOKENS][: ids.shape[1] - 1 - start].float(),
            ids[row, start + 1 : start + 1 + CHUNK_TOKENS],
            reduction="sum",
        )
        for row in range(ids.shape[0])
        for start in range(0, ids.shape[1] - 1, CHUNK_TOKENS)
    ]
    chunks = torch.stack(sums).reshape(ids.shape[0], -1).tolist()
    return [math.fsum(window) for window in chunks]


def _base_output(model: Any, ids: torch.Tensor) -> Any:
    """Return the output of the model below the head."""
    return model.base_model(input_ids=ids, use_cache=False, return_dict=True)


@contextmanager
def _base_returns(model: Any, output: Any) -> Iterator[None]:
    """Let the model below the head return `output` instead of running, while inside."""
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


def _refuse_other_logits(model: Any, actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Refuse a head whose logits differ from the model's; logits not finite are named later."""
    actual, expected = widened(actual), widened(expected)
    if not bool(expected.isfinite().all()):
        return
    rounding = max(torch.finfo(model.dtype).eps, torch.finfo(torch.float32).eps)
    error = float((actual - expected).norm() / expected.norm().clamp(min=rounding))
    if not error <= _ROUNDINGS * rounding:
        raise UnsupportedArchitecture(
            f"{type(model).__name__}: its logits are not what its head makes of the last hidden "
            f"states (they differ by {error:.1%}), so its loss can't be measured piece by piece."
        )


def _in_chunks(
    head: Head,
    rows: torch.Tensor,
    targets: torch.Tensor,
    scale: float,
    sample: Sampler | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∂(Σ nll)/∂rows in float32 or wider, and the float64 nll of every row.

    With `sample` the loss that is differentiated has its labels instead of the targets.
    """
    gradients, losses = [], []
    step = max(1, CHUNK_LOGITS // head.vocabulary)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step].requires_grad_()
        logits = head.logits(chunk)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nll = functional.cross_entropy(logits, targets[start : start + step], reduction="none")
        loss = nll
        if sample is not None:
            loss = functional.cross_entropy(logits, sample(logits.detach()), reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum() * scale, chunk)
        gradients.append(gradient.to(logits.dtype) / scale)
        losses.append(nll.detach().double())
    return torch.cat(gradients), torch.cat(losses)


def _scale_to_one(gradient: torch.Tensor) -> float:
    """Return the power of two that brings the largest entry into [½, 1)."""
    peak = float(gradient.abs().max())
    if peak == 0 or not math.isfinite(peak):
        return 1.0
    return 2.0 ** -math.frexp(peak)[1]
