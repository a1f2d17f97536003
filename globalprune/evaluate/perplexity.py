"""Perplexity over windows, weighted by token: exp(Σ nll / Σ predicted tokens).

A mean of the windows' own means would be another figure as soon as windows are ragged.
"""

import math

import torch
from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.evaluation import PerplexityResult, perplexity_of
from globalprune.errors import NonFiniteError
from globalprune.progress import Progress, silent
from globalprune.statistics.loss import window_losses
from globalprune.text.windows import TokenWindows, batches


def perplexity(
    model: PreTrainedModel,
    windows: TokenWindows,
    batch_size: int = 1,
    progress: Progress = silent,
    *,
    name: str = "the model",
) -> PerplexityResult:
    """Judge a model by windows; raise `NonFiniteError` with its `name` for a loss not finite.

    The batch size changes time and memory, and the figure by no more than rounding.
    """
    work = list(batches(windows, batch_size))
    was_training = model.training
    model.eval()
    nll: list[float] = []
    try:
        with torch.inference_mode():
            for batch in progress(work, total=len(work), label="perplexity", unit="batches"):
                nll += _finite_losses(model, batch.to(model.device), name)
    finally:
        model.train(was_training)
    predicted = [len(row) - 1 for row in windows.rows]
    return perplexity_of(nll, predicted, windows.record.digest)


def _finite_losses(model: PreTrainedModel, ids: torch.Tensor, name: str) -> list[float]:
    """The loss of every window of a batch; raise `NonFiniteError` where one is none."""
    losses = window_losses(model, ids)
    for value in losses:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name}: the loss of a window is {value}; "
                "try --dtype float32 (float16 overflows in many models), and check the model's "
                "weights."
            )
    return losses
