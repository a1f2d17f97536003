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
from globalprune.progress import Progress


def rotated_order(number: int, count: int) -> list[int]:
    """The order of `count` things in a round: it rotates, so that none is always first."""
    return [(place + number) % count for place in range(count)]


def synchronized_time(device: torch.device) -> float:
    """The time in seconds once queued kernels have ended, so that it tells their time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


MEMORY_MARGIN: Final = 1.25  # what lies beside the weights: activations, caches, the loader's own


@dataclass(frozen=True)
class TimedModel:
    """A model to be timed, not loaded yet."""

    load: Callable[[], PreTrainedModel]
    weight_bytes: int
    prompt: torch.Tensor  # ids `[T]`


@dataclass(frozen=True)
class RoundTimes:
    """What one model did in one round, in seconds."""

    prefill: float
    first_token: float  # prefill, and the choice of the token
    decode: float


def measure_speeds(
    subjects: Sequence[TimedModel], settings: SpeedSettings, device: str, progress: Progress
) -> tuple[list[SpeedResult], SpeedSettings]:
    """Time every model; also tell what was measured, where short text or memory set a limit."""
    shortest = min(len(subject.prompt) for subject in subjects)
    length = min(settings.prompt_tokens, shortest)
    together = len(subjects) == 1 or _fit_together(subjects, device)
    done = settings.model_copy(update={"prompt_tokens": length, "interleaved": together})
    if together:
        return _time_in_rounds(subjects, done, progress), done
    return [_time_in_rounds([subject], done, progress)[0] for subject in subjects], done


def _fit_together(subjects: Sequence[TimedModel], device: str) -> bool:
    """Whether memory that is free now holds all weights, with a margin."""
    return MEMORY_MARGIN * sum(subject.weight_bytes for subject in subjects) <= free_memory(device)


def _time_in_rounds(
    subjects: Sequence[TimedModel], settings: SpeedSettings, progress: Progress
) -> list[SpeedResult]:
    """Time these models in turn."""
    models = [subject.load() for subject in subjects]
    prompts = [
        subject.prompt[None, : settings.prompt_tokens].to(model.device)
        for subject, model in zip(subjects, models, strict=True)
    ]
    turns: list[list[RoundTimes]] = [[] for _ in models]
    rounds = progress(
        range(settings.rounds + 1), total=settings.rounds + 1, label="speed", unit="rounds"
    )
    for number in rounds:
        for index in rotated_order(number, len(models)):
            turn = _time(models[index], prompts[index], settings.decoded_tokens)
            if number:  # the first round warms up
                turns[index].append(turn)
    return [_result(turn, settings) for turn in turns]


def _time(model: PreTrainedModel, prompt: torch.Tensor, decoded: int) -> RoundTimes:
    """One prefill, one choice, then tokens one at a time, greedily, with the cache."""
    device = model.device
    head = {"logits_to_keep": 1} if _can_keep_one(model) else {}
    with torch.inference_mode():
        started = synchronized_time(device)
        output: Any = model(input_ids=prompt, use_cache=True, **head)
        filled = synchronized_time(device)
        token = _likeliest_token(output)
        token.item()
        chosen = synchronized_time(device)
        for _ in range(decoded):
            output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
            token = _likeliest_token(output)
        token.item()
        ended = synchronized_time(device)
    return RoundTimes(filled - started, chosen - started, ended - chosen)


def _can_keep_one(model: PreTrainedModel) -> bool:
    """Whether the head can run on the last token alone, as it does when text is generated."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _likeliest_token(output: Any) -> torch.Tensor:
    """The likeliest next token, `[1, 1]`."""
    token: torch.Tensor = output.logits[:, -1:].argmax(dim=-1)
    return token


def _result(turns: Sequence[RoundTimes], settings: SpeedSettings) -> SpeedResult:
    """Rates of every round."""
    return SpeedResult(
        prefill_tokens_per_second=tuple(settings.prompt_tokens / turn.prefill for turn in turns),
        decode_tokens_per_second=tuple(settings.decoded_tokens / turn.decode for turn in turns),
        time_to_first_token_seconds=tuple(turn.first_token for turn in turns),
    )


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
        started = synchronized_time(model.device)
        for _ in range(decoding.tokens):
            token = _next(model, token, cache)
        return (synchronized_time(model.device) - started) / decoding.tokens


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
