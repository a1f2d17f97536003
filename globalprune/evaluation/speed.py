"""Prefill and decode speed, measured in interleaved rounds."""

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache, PreTrainedModel

from globalprune.artifacts.evaluations.evaluation import SpeedResult, SpeedSettings
from globalprune.evaluation.resources import free_memory
from globalprune.options import MeasureOptions
from globalprune.progress import Progress

MEMORY_MARGIN: Final = 1.25  # beside the weights: activations, caches, what loading takes


@dataclass(frozen=True)
class TimedModel:
    """A model to be timed, not loaded yet."""

    load: Callable[[], PreTrainedModel]
    weight_bytes: int
    prompt: torch.Tensor  # ids `[T]`


@dataclass(frozen=True)
class RoundTimes:
    """The times of one model in one round, in seconds."""

    prefill: float
    first_token: float  # prefill, and the choice of the token
    decode: float


def measure_speeds(
    models: Sequence[TimedModel], settings: SpeedSettings, device: str, progress: Progress
) -> tuple[list[SpeedResult], SpeedSettings]:
    """Time every model.

    Also return the settings as they were followed: a short text limits the prompt, and models that
    don't fit into memory together are timed one after the other.
    """
    shortest = min(len(model.prompt) for model in models)
    length = min(settings.prompt_tokens, shortest)
    together = len(models) == 1 or _fit_together(models, device)
    followed = settings.model_copy(update={"prompt_tokens": length, "interleaved": together})
    if together:
        return _time_in_rounds(models, followed, progress), followed
    return [_time_in_rounds([model], followed, progress)[0] for model in models], followed


def seconds_per_token(model: PreTrainedModel, options: MeasureOptions) -> float:
    """The mean time of a decoded token, after one that warms up; greedy, as transformers does."""
    token = torch.zeros(options.batch_size, 1, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        cache = _filled_cache(model, token, options.context)
        token, _ = _decode(model, token, cache)
        started = synchronized_time(model.device)
        for _ in range(options.tokens):
            token, _ = _decode(model, token, cache)
        return (synchronized_time(model.device) - started) / options.tokens


def rotated_order(number: int, count: int) -> list[int]:
    """The order of `count` models in round `number`: it rotates, so that none is always first."""
    return [(position + number) % count for position in range(count)]


def synchronized_time(device: torch.device) -> float:
    """The time in seconds once queued kernels have ended, so that their time is counted."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def _fit_together(models: Sequence[TimedModel], device: str) -> bool:
    """Whether free memory holds the weights of all models, with a margin."""
    return MEMORY_MARGIN * sum(model.weight_bytes for model in models) <= free_memory(device)


def _time_in_rounds(
    timed: Sequence[TimedModel], settings: SpeedSettings, progress: Progress
) -> list[SpeedResult]:
    """Load the models, and time each once in every round; the first round warms up."""
    models = [model.load() for model in timed]
    prompts = [
        one.prompt[None, : settings.prompt_tokens].to(model.device)
        for one, model in zip(timed, models, strict=True)
    ]
    times: list[list[RoundTimes]] = [[] for _ in models]
    rounds = progress(
        range(settings.rounds + 1), total=settings.rounds + 1, label="speed", unit="rounds"
    )
    for number in rounds:
        for index in rotated_order(number, len(models)):
            measured = _time(models[index], prompts[index], settings.decoded_tokens)
            if number:
                times[index].append(measured)
    return [_result(one, settings) for one in times]


def _time(model: PreTrainedModel, prompt: torch.Tensor, decoded: int) -> RoundTimes:
    """Time one prefill, one choice, then tokens one at a time, greedily, with the cache."""
    device = model.device
    head = {"logits_to_keep": 1} if _takes_logits_to_keep(model) else {}
    with torch.inference_mode():
        started = synchronized_time(device)
        output: Any = model(input_ids=prompt, use_cache=True, **head)
        filled = synchronized_time(device)
        token = _likeliest_token(output)
        token.item()
        chosen = synchronized_time(device)
        for _ in range(decoded):
            token, output = _decode(model, token, output.past_key_values)
        token.item()
        ended = synchronized_time(device)
    return RoundTimes(filled - started, chosen - started, ended - chosen)


def _takes_logits_to_keep(model: PreTrainedModel) -> bool:
    """Whether the head can run on the last token alone, as it does when text is generated."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _result(times: Sequence[RoundTimes], settings: SpeedSettings) -> SpeedResult:
    """The rates of every round."""
    return SpeedResult(
        prefill_tokens_per_second=tuple(settings.prompt_tokens / one.prefill for one in times),
        decode_tokens_per_second=tuple(settings.decoded_tokens / one.decode for one in times),
        time_to_first_token_seconds=tuple(one.first_token for one in times),
    )


def _filled_cache(model: PreTrainedModel, token: torch.Tensor, context: int) -> DynamicCache:
    """A cache that holds `token` `[B, 1]`, repeated to `context` tokens."""
    first: Any = model(input_ids=token, use_cache=True).past_key_values
    cache = DynamicCache(config=model.config)
    for index, layer in enumerate(first.layers):
        keys, values = (part.expand(-1, -1, context, -1) for part in (layer.keys, layer.values))
        cache.update(keys, values, index)
    return cache


def _decode(model: PreTrainedModel, token: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
    """The likeliest next token of each sequence, `[B, 1]`, and the output; the cache grows."""
    output: Any = model(input_ids=token, past_key_values=cache, use_cache=True)
    return _likeliest_token(output), output


def _likeliest_token(output: Any) -> torch.Tensor:
    """The likeliest next token of each sequence, `[B, 1]`."""
    token: torch.Tensor = output.logits[:, -1:].argmax(dim=-1)
    return token
