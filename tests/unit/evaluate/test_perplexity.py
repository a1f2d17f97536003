"""Perplexity: exp of the mean loss of a token, however the text is cut."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from measuring import windows_of
from tiny_models import random_ids, tiny_model

from globalprune.errors import NonFiniteError
from globalprune.evaluate.perplexity import perplexity

RAGGED = tuple(random_ids(1, length, seed)[0] for seed, length in enumerate((2, 9, 9, 3, 40, 9)))


def losses(model: Any, rows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The loss of every predicted token of every row, by hand and in float64."""
    found = []
    for row in rows:
        with torch.no_grad():
            logits = model(row[None]).logits[0].double()
        likelihoods = logits.log_softmax(dim=-1)
        found.append(-likelihoods[:-1].gather(1, row[1:, None])[:, 0])
    return found


@pytest.mark.parametrize("length", [2, 128, 129, 130, 200])
def test_equal_windows_give_transformers_own_loss(length: int) -> None:
    """Also where a window is longer than what is taken at once, by one token or by many."""
    model, ids = tiny_model("llama"), random_ids(3, length)
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss
    found = perplexity(model, windows_of(list(ids)), batch_size=2)
    assert found.predicted_tokens == 3 * (length - 1)
    assert found.value == pytest.approx(math.exp(expected), rel=1e-5)
    assert found.nll_sum == pytest.approx(float(expected) * 3 * (length - 1), rel=1e-5)


def test_ragged_windows_are_weighted_by_token() -> None:
    """A mean of the windows' means would be quite another figure here."""
    model = tiny_model("llama")
    tokens = losses(model, RAGGED)
    by_token = float(torch.cat(tokens).mean())
    by_window = float(torch.stack([window.mean() for window in tokens]).mean())
    assert abs(by_token - by_window) > 0.1
    found = perplexity(model, windows_of(RAGGED))
    assert found.predicted_tokens == sum(len(row) - 1 for row in RAGGED)
    assert found.value == pytest.approx(math.exp(by_token), rel=1e-5)


def test_every_window_keeps_its_own_sum() -> None:
    """In the order of the windows, whatever shared its batch: differences are paired by them."""
    model = tiny_model("llama")
    found = perplexity(model, windows_of(RAGGED), batch_size=2)
    assert found.window_nll == pytest.approx([float(row.sum()) for row in losses(model, RAGGED)])
    assert found.window_tokens == tuple(len(row) - 1 for row in RAGGED)
    assert found.windows == "sha256:0"


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    """Rounding apart; rows of other lengths are never padded into a batch."""
    model = tiny_model("qwen3")
    one, many = (perplexity(model, windows_of(RAGGED), size) for size in (1, batch_size))
    assert many.predicted_tokens == one.predicted_tokens
    assert many.nll_sum == pytest.approx(one.nll_sum, rel=1e-6)


def test_half_precision_is_summed_in_single() -> None:
    """In bfloat16 a sum over a window would lose its last digits."""
    model = tiny_model("llama").bfloat16()
    tokens = losses(model, RAGGED)
    found = perplexity(model, windows_of(RAGGED))
    assert found.nll_sum == pytest.approx(float(torch.cat(tokens).sum()), rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error(value: float) -> None:
    """It is never a figure in a table; the message says what to try."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = value
    model.train()
    with pytest.raises(
        NonFiniteError, match=r"^mine: the loss of a window is (nan|inf); try --dtype"
    ):
        perplexity(model, windows_of(RAGGED), name="mine")
    assert model.training


def test_a_ruined_model_is_infinitely_perplexed() -> None:
    """A mean loss beyond what exp can hold is a result, unlike a loss that is no number."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1e4)
    found = perplexity(model, windows_of(RAGGED))
    assert found.value is None
    assert math.isfinite(found.nll_sum)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
def test_the_model_is_judged_in_eval_mode_and_left_as_it_was(*, training: bool) -> None:
    """Dropout would make the figure a matter of luck."""
    model = tiny_model("llama", attention_dropout=0.5)
    expected = perplexity(model, windows_of(RAGGED))
    model.train(training)
    assert perplexity(model, windows_of(RAGGED)) == expected
    assert model.training == training
    assert all(module.training == training for module in model.modules())
    assert not any(parameter.grad is not None for parameter in model.parameters())
