"""Next-token cross-entropy and its gradient at the last hidden states."""

import math
from typing import Any

import pytest
import torch
from tiny_models import random_ids, tiny_model
from torch import nn

from globalprune.passes import loss
from globalprune.passes.head import Head
from globalprune.passes.loss import HeadGradient, head_gradient

IDS = random_ids(3, 7)


def parts(dtype: torch.dtype = torch.float32) -> tuple[Any, torch.Tensor]:
    """A tiny model's frozen output embeddings, and hidden states for them."""
    model: Any = tiny_model("llama")
    linear = model.to(dtype).get_output_embeddings()
    linear.requires_grad_(requires_grad=False)
    hidden = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(1))
    return linear, hidden.to(dtype)


def alone(linear: Any) -> Head:
    """A head that is nothing but these."""
    return Head(linear, linear.out_features)


def by_autograd(linear: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of the sum of each window's mean loss, and each window's summed loss."""
    whole = hidden.detach().requires_grad_()
    logits = linear(whole)[:, :-1].transpose(1, 2)
    nll = torch.nn.functional.cross_entropy(logits, IDS[:, 1:], reduction="none")
    (gradient,) = torch.autograd.grad(nll.mean(dim=1).sum(), whole)
    return gradient, nll.sum(dim=1).detach()


def test_the_gradient_is_autograds_and_the_last_token_has_none() -> None:
    """Every window counts as a mean of its own; its last token predicts nothing."""
    linear, hidden = parts(torch.float64)
    gradient, nll = by_autograd(linear, hidden)
    found = head_gradient(alone(linear), hidden, IDS)
    assert found.scale == 1
    assert not found.gradient[:, -1].any()
    torch.testing.assert_close(found.gradient, gradient)
    torch.testing.assert_close(found.nll, nll)


@pytest.mark.parametrize("rows", [1, 4, 17, 18, 1000], ids=str)
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """18 tokens predict; a chunk may end inside a window, and the last may be short."""
    linear, hidden = parts(torch.float64)
    expected = head_gradient(alone(linear), hidden, IDS)
    monkeypatch.setattr(loss, "CHUNK_LOGITS", rows * 260)
    found = head_gradient(alone(linear), hidden, IDS)
    torch.testing.assert_close(found.gradient, expected.gradient)
    torch.testing.assert_close(found.nll, expected.nll)


def test_only_one_chunk_of_logits_exists_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head never sees more tokens than a chunk, nor one that predicts nothing."""
    linear, hidden = parts()
    seen: list[int] = []
    linear.register_forward_hook(lambda _module, args, _output: seen.append(len(args[0])))
    monkeypatch.setattr(loss, "CHUNK_LOGITS", 5 * 260 + 259)
    head_gradient(alone(linear), hidden, IDS)
    assert seen == [5, 5, 5, 3]


def test_what_is_passed_in_stays_as_it_was() -> None:
    """The hidden states belong to the model's graph, and the head gets no weight gradient."""
    linear, hidden = parts()
    before = hidden.clone()
    head_gradient(alone(linear), hidden, IDS)
    assert torch.equal(hidden, before)
    assert not hidden.requires_grad
    assert linear.weight.grad is None


class TestFloat16:
    """Half precision, where small gradients need a scale."""

    @pytest.mark.parametrize("shrink", [1.0, 1e-2, 1e-4], ids=["usual", "small", "vanishing"])
    def test_the_gradient_is_scaled_to_just_below_one(self, shrink: float) -> None:
        """The scale is a power of two, so taking it off again costs no digit."""
        found, exact = half_and_exact(shrink)
        assert 0.5 <= float(found.gradient.abs().max()) <= 1
        assert math.log2(found.scale).is_integer()
        error = (found.gradient.double() / found.scale - exact).norm() / exact.norm()
        assert float(error) < 0.01

    def test_a_prediction_that_is_almost_certain_still_has_a_gradient(self) -> None:
        """The other token's probability, e^-18, is less than the smallest number of float16."""
        linear = nn.Linear(1, 2, bias=False, dtype=torch.float16).requires_grad_(
            requires_grad=False
        )
        linear.weight.copy_(torch.tensor([[0.0], [-18.0]]))
        found = head_gradient(
            alone(linear), torch.ones(1, 3, 1).half(), torch.zeros(1, 3, dtype=torch.long)
        )
        unscaled = found.gradient[0, :, 0].double() / found.scale
        expected = -18 * math.exp(-18) / 2
        assert unscaled.tolist() == pytest.approx([expected, expected, 0], rel=0.02)

    def test_a_loss_that_is_not_finite_is_not_scaled_away(self) -> None:
        """The scale stays a number; the loss itself tells what happened."""
        linear, hidden = parts(torch.float16)
        hidden[1, 2] = 60_000  # logits beyond float16
        found = head_gradient(alone(linear), hidden, IDS)
        assert found.scale == 1
        assert found.nll.isfinite().tolist() == [True, False, True]


def half_and_exact(shrink: float) -> tuple[HeadGradient, torch.Tensor]:
    """The float16 result, and the gradient in float64 of the same rounded weights."""
    linear, hidden = parts(torch.float16)
    with torch.no_grad():
        linear.weight.mul_(shrink)
    found = head_gradient(alone(linear), hidden, IDS)
    exact, _ = by_autograd(linear.double(), hidden.double())
    return found, exact
