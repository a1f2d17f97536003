"""Perplexity over windows, weighted by token: exp(Σ nll / Σ predicted tokens).

A mean of the windows' own means would be another figure as soon as windows are ragged.
"""

import math
from typing import Final

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.evaluation_record import PerplexityResult
from globalprune.artifacts.evaluations.evaluation_statistics import perplexity_of
from globalprune.errors import NonFiniteError
from globalprune.progress import Progress, silent
from globalprune.text.windows import TokenWindows, batches

# Positions whose log-softmax is taken at once: float32 logits of a whole batch would be the
# largest tensor of all where the vocabulary is large.
CHUNK: Final = 128


def perplexity(
    model: PreTrainedModel,
    windows: TokenWindows,
    batch_size: int = 1,
    progress: Progress = silent,
) -> PerplexityResult:
    """Judge a model by windows; raise `NonFiniteError` where it gives no finite loss.

    The batch size changes time and memory, and the figure by no more than rounding.
    """
    work = list(batches(windows, batch_size))
    was_training = model.training
    model.eval()
    nll: list[float] = []
    try:
        with torch.inference_mode():
            for batch in progress(work, total=len(work), label="perplexity", unit="batches"):
                nll += _window_nll(model, batch.to(model.device))
    finally:
        model.train(was_training)
    predicted = [len(row) - 1 for row in windows.rows]
    return perplexity_of(nll, predicted, windows.record.digest)


def _window_nll(model: PreTrainedModel, ids: torch.Tensor) -> list[float]:
    """The summed next-token cross-entropy of each window of a batch `[B, T]`, in nats."""
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
    chunks = torch.stack(sums).reshape(ids.shape[0], -1).tolist()
    nll = [math.fsum(window) for window in chunks]
    for value in nll:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{model.config._name_or_path or 'the model'}: the loss of a window is {value}; "  # noqa: SLF001 - the only name a loaded model has
                "try --dtype float32 (float16 overflows in many models)."
            )
    return nll
