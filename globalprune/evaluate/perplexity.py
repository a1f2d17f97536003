"""Perplexity over windows, weighted by token: exp(Σ nll / Σ predicted tokens).

A mean of the windows' own means would be another figure as soon as windows are ragged.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from globalprune.errors import NonFiniteError
from globalprune.progress import Progress, silent
from globalprune.text.windows import TokenWindows, batches

# Positions whose log-softmax is taken at once: float32 logits of a whole batch would be the
# largest tensor of all where the vocabulary is large.
CHUNK: Final = 128


@dataclass(frozen=True)
class Perplexity:
    """The figure, and the two sums that it comes from; `nll_sum` is in nats."""

    value: float
    nll_sum: float
    predicted_tokens: int


def perplexity(
    model: PreTrainedModel,
    windows: TokenWindows,
    batch_size: int = 1,
    progress: Progress = silent,
) -> Perplexity:
    """Judge a model by windows; raise `NonFiniteError` where it gives no finite loss.

    The batch size changes time and memory, and the figure by no more than rounding.
    """
    work = list(batches(windows, batch_size))
    was_training = model.training
    model.eval()
    nll_sum = 0.0
    try:
        with torch.inference_mode():
            for batch in progress(work, total=len(work), label="perplexity", unit="batches"):
                nll_sum += _batch_nll(model, batch.to(model.device))
    finally:
        model.train(was_training)
    predicted = windows.record.predicted_tokens
    return Perplexity(_exp(nll_sum / predicted), nll_sum, predicted)


def _batch_nll(model: PreTrainedModel, ids: torch.Tensor) -> float:
    """The summed next-token cross-entropy of a batch `[B, T]`, in nats."""
    logits = model(input_ids=ids, use_cache=False).logits
    sums = [
        functional.cross_entropy(
            logits[row, start : start + CHUNK][: ids.shape[1] - 1 - start].float(),
            ids[row, start + 1 : start + 1 + CHUNK],
            reduction="sum",
        )
        for row in range(ids.shape[0])
        for start in range(0, ids.shape[1] - 1, CHUNK)
    ]
    nll = math.fsum(torch.stack(sums).tolist())
    if not math.isfinite(nll):
        raise NonFiniteError(
            f"{model.config._name_or_path or 'the model'}: the loss of a window is {nll}; "  # noqa: SLF001 - the only name a loaded model has
            "try --dtype float32 (float16 overflows in many models)."
        )
    return nll


def _exp(mean_nll: float) -> float:
    """Perplexity of a mean loss; a ruined model can exceed what a float holds."""
    try:
        return math.exp(mean_nll)
    except OverflowError:
        return math.inf
