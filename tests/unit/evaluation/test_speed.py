"""Speed by turns: who runs when, what is timed, and what memory allows."""

from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch
from records import model_result
from tiny_models import FAMILIES, random_ids, tiny_model
from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.evaluation import SpeedSettings
from globalprune.evaluation import speed
from globalprune.evaluation.comparison import warn_of_speed
from globalprune.evaluation.speed import (
    RoundTimes,
    TimedModel,
    measure_speeds,
    rotated_order,
    seconds_per_token,
)
from globalprune.options import MeasureOptions
from globalprune.progress import silent

SETTINGS = SpeedSettings(prompt_tokens=6, decoded_tokens=3, rounds=4)
PROMPT = random_ids(1, 9)[0]


def subject_of(model: PreTrainedModel, weight_bytes: int = 1) -> TimedModel:
    """A model that needs no loading."""
    return TimedModel(lambda: model, weight_bytes, PROMPT)


def measured(*models: PreTrainedModel, weight_bytes: int = 1) -> Any:
    """The speeds of these models, and how they were measured."""
    subjects = [subject_of(model, weight_bytes) for model in models]
    return measure_speeds(subjects, SETTINGS, "cpu", silent)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models in the order in which they had their turns; the n-th takes n seconds."""
    ran: list[Any] = []

    def run(model: Any, *_: Any) -> RoundTimes:
        ran.append(model)
        return RoundTimes(float(len(ran)), float(len(ran)), float(len(ran)))

    monkeypatch.setattr(speed, "_time", run)
    return ran


def test_models_take_turns_and_none_is_always_first(order: list[Any]) -> None:
    """Each round has every model once, in an order that rotates."""
    first, second = tiny_model("llama"), tiny_model("qwen3")
    measured(first, second)
    rounds = [order[start : start + 2] for start in range(0, 10, 2)]
    assert rounds == [[first, second], [second, first]] * 2 + [[first, second]]


def test_the_first_round_warms_up(order: list[Any]) -> None:
    """It is run and not counted."""
    [found], _ = measured(tiny_model("llama"))
    assert len(order) == 5
    assert found.time_to_first_token_seconds == (2.0, 3.0, 4.0, 5.0)
    assert found.prefill_tokens_per_second == (6 / 2, 6 / 3, 6 / 4, 6 / 5)
    assert found.decode_tokens_per_second == (3 / 2, 3 / 3, 3 / 4, 3 / 5)


def test_models_that_do_not_fit_together_run_alone(
    order: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, which is recorded, since no difference can be made of it."""

    def memory() -> Any:
        return type("Memory", (), {"available": 199})

    monkeypatch.setattr(psutil, "virtual_memory", memory)
    first, second = tiny_model("llama"), tiny_model("qwen3")
    _, done = measured(first, second, weight_bytes=80)  # 160 would fit, but for the margin
    assert order == [first] * 5 + [second] * 5
    assert not done.interleaved
    [warning] = warn_of_speed([], done)
    assert warning.startswith("memory doesn't hold these models together, so each was timed alone")
    order.clear()
    assert measured(first, second, weight_bytes=79)[1].interleaved


@pytest.fixture
def calls() -> Callable[[PreTrainedModel], list[dict[str, Any]]]:
    """What a model is called with, and how many tokens its head then sees."""

    def watch(model: PreTrainedModel) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []

        def note(_: Any, __: Any, arguments: dict[str, Any], output: Any) -> None:
            cache = arguments.get("past_key_values")
            seen.append(
                {
                    "ids": arguments["input_ids"].clone(),
                    "cached": cache is not None,
                    "logits": output.logits.clone(),
                }
            )

        model.register_forward_hook(note, with_kwargs=True)
        return seen

    return watch


def test_a_turn_is_one_prefill_and_greedy_tokens_one_by_one(
    calls: Callable[[PreTrainedModel], list[dict[str, Any]]],
) -> None:
    """With the cache, each token the likeliest of what stands before it; as generate() would."""
    model = tiny_model("llama")
    generate: Any = model.generate
    expected = generate(
        PROMPT[None, :6],
        attention_mask=torch.ones(1, 6, dtype=torch.long),
        max_new_tokens=4,
        do_sample=False,
        eos_token_id=None,
    )[0, 6:]
    seen = calls(model)
    turn = speed._time(model, PROMPT[None, :6], 3)
    assert [call["cached"] for call in seen] == [False, True, True, True]
    assert [tuple(call["ids"].shape) for call in seen] == [(1, 6), (1, 1), (1, 1), (1, 1)]
    assert seen[0]["logits"].shape[1] == 1
    assert torch.cat([call["logits"].argmax(-1)[0] for call in seen]).tolist() == expected.tolist()
    assert 0 < turn.prefill <= turn.first_token
    assert turn.decode > 0


def test_a_slower_model_is_measured_slower() -> None:
    """Four times the layers take more time, in every way; with real clocks."""
    fast, slow = tiny_model("llama"), tiny_model("llama", num_hidden_layers=16)
    speeds, done = measured(fast, slow)
    rates = [max(found.decode_tokens_per_second) for found in speeds]
    times = [min(found.time_to_first_token_seconds) for found in speeds]
    assert rates[0] > 1.5 * rates[1]
    assert times[1] > 1.5 * times[0]
    assert done == SETTINGS


def test_a_short_text_gives_a_short_prompt() -> None:
    """The same for all models, and recorded as it was."""
    long, short = (TimedModel(lambda: tiny_model("llama"), 1, PROMPT[:length]) for length in (9, 4))
    _, done = measure_speeds([long, short], SETTINGS, "cpu", silent)
    assert done.prompt_tokens == 4


def test_a_model_without_a_cache_is_told() -> None:
    """Its speed is left out, not guessed."""
    [warning] = warn_of_speed([model_result()], SETTINGS)
    assert warning == "test/model: keeps no KV cache, so its speed is not measured."


ASKED = MeasureOptions(batch_size=2, context=20, tokens=3)


def calls_of(model: Any) -> list[tuple[Any, ...]]:
    """What the model is called with from now on: ids, and how long the cache then is."""
    seen: list[tuple[Any, ...]] = []

    def note(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        cache = arguments.get("past_key_values")
        length = None if cache is None else cache.get_seq_length()
        seen.append((tuple(arguments["input_ids"].shape), length))

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_come_one_at_a_time_behind_a_full_cache(family: str) -> None:
    """One token shapes the cache, one warms up, and no prompt is ever read."""
    model = tiny_model(family)
    seen = calls_of(model)

    assert seconds_per_token(model, ASKED) > 0
    assert seen == [((2, 1), None), *(((2, 1), 20 + step) for step in range(4))]


def test_the_warm_up_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read before the first token that counts, and after the last."""
    model = tiny_model("llama")
    seen = calls_of(model)
    monkeypatch.setattr(speed, "synchronized_time", lambda _: float(len(seen)))

    assert seconds_per_token(model, ASKED) == 1.0
    assert len(seen) == 5


def test_the_cache_holds_what_the_model_would_put_there() -> None:
    """A key and a value for every layer, sequence, group and token; only so many of a window."""
    token = torch.zeros(2, 1, dtype=torch.long)
    whole: Any = speed._filled_cache(tiny_model("llama"), token, 20)
    window: Any = speed._filled_cache(tiny_model("mistral", sliding_window=8), token, 20)

    assert {tuple(layer.keys.shape) for layer in whole.layers} == {(2, 4, 20, 8)}
    assert {tuple(layer.values.shape) for layer in window.layers} == {(2, 3, 7, 8)}
    assert window.get_seq_length() == 20


def test_every_round_has_all_and_another_first() -> None:
    """So that what comes after a pause, or last, is someone else each time."""
    assert [rotated_order(number, 3) for number in range(4)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [0, 1, 2],
    ]
