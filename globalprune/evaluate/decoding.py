"""How long a decoded token takes behind many others, without the time that reading those takes."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from globalprune.evaluate.turns import now


@dataclass(frozen=True)
class Decoding:
    """So many tokens for each sequence of a batch, one at a time, behind a context of others."""

    batch_size: int
    context: int
    tokens: int

    @property
    def positions(self) -> int:
        """How far a sequence gets, with the token that warms up."""
        return self.context + 1 + self.tokens


def seconds_per_token(model: PreTrainedModel, decoding: Decoding) -> float:
    """The mean of a turn, after one token that warms up; greedy, as transformers generates."""
    token = torch.zeros(decoding.batch_size, 1, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        cache = _filled_cache(model, token, decoding.context)
        token = _next(model, token, cache)
        started = now(model.device)
        for _ in range(decoding.tokens):
            token = _next(model, token, cache)
        return (now(model.device) - started) / decoding.tokens


def _filled_cache(model: PreTrainedModel, token: torch.Tensor, context: int) -> DynamicCache:
    """The cache that `context` tokens leave, each as the one that is given: `[B, 1]`."""
    first: Any = model(input_ids=token, use_cache=True).past_key_values
    cache = DynamicCache(config=model.config)
    for index, layer in enumerate(first.layers):
        keys, values = (part.expand(-1, -1, context, -1) for part in (layer.keys, layer.values))
        cache.update(keys, values, index)
    return cache


def _next(model: PreTrainedModel, token: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """The likeliest token behind each sequence, `[B, 1]`; the cache grows by one."""
    output: Any = model(input_ids=token, past_key_values=cache, use_cache=True)
    following: torch.Tensor = output.logits[:, -1:].argmax(dim=-1)
    return following
