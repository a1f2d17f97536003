"""The loss of every window by the model's own logits, without a gradient."""

import math
from typing import Any, Final

import torch
from torch.nn import functional

# Positions whose log-softmax is taken at once: float32 logits of a whole batch would be the
# largest tensor of all where the vocabulary is large.
CHUNK: Final = 128


def window_losses(model: Any, ids: torch.Tensor) -> list[float]:
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
    return [math.fsum(window) for window in chunks]
