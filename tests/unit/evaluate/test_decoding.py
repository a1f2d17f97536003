"""A turn of decoding: what is run, behind what, and which part of it is timed."""

from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, tiny_model

from globalprune.evaluate import decoding
from globalprune.evaluate.decoding import Decoding, seconds_per_token

ASKED = Decoding(batch_size=2, context=20, tokens=3)


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
    assert ASKED.positions == 24


def test_the_warm_up_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read before the first token that counts, and after the last."""
    model = tiny_model("llama")
    seen = calls_of(model)
    monkeypatch.setattr(decoding, "now", lambda _: float(len(seen)))

    assert seconds_per_token(model, ASKED) == 1.0
    assert len(seen) == 5


def test_the_cache_holds_what_the_model_would_put_there() -> None:
    """A key and a value for every layer, sequence, group and token; only so many of a window."""
    token = torch.zeros(2, 1, dtype=torch.long)
    whole: Any = decoding._filled_cache(tiny_model("llama"), token, 20)
    window: Any = decoding._filled_cache(tiny_model("mistral", sliding_window=8), token, 20)

    assert {tuple(layer.keys.shape) for layer in whole.layers} == {(2, 4, 20, 8)}
    assert {tuple(layer.values.shape) for layer in window.layers} == {(2, 3, 7, 8)}
    assert window.get_seq_length() == 20
