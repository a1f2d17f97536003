"""Next-token cross-entropy and its gradient at the last hidden states."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import pytest
import torch
from tiny_models import random_ids, tiny_model
from torch import nn

from globalprune.statistics import loss
from globalprune.statistics.loss import Head, HeadGradient, LabelDraw, draw_labels, head_gradient

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


Tiny = Callable[[str], Path]
CPU = torch.device("cpu")


def drawn_by(hidden: torch.Tensor, draw: LabelDraw, first_window: int = 0) -> torch.Tensor:
    """The labels behind a gradient: with the hidden states for logits it is p - 1 at the label."""
    windows, length, width = hidden.shape
    linear = nn.Linear(width, width, bias=False, dtype=hidden.dtype)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(width))
    linear.requires_grad_(requires_grad=False)
    ids = torch.zeros(windows, length, dtype=torch.long)
    head = Head(linear, width)
    found = head_gradient(head, hidden, ids, draw, first_window=first_window)
    expected = nn.functional.cross_entropy(hidden[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(found.nll.mean() / (length - 1), expected.double())
    shares = found.gradient[:, :-1] * (length - 1)
    labels: torch.Tensor = (hidden[:, :-1].softmax(dim=-1) - shares).argmax(dim=-1)
    return labels


def test_labels_are_as_frequent_as_they_are_probable() -> None:
    """Also those that are improbable; and none that is impossible."""
    probabilities = torch.tensor([0.5, 0.3, 0.19, 0.01, 0.0])
    generator = torch.Generator().manual_seed(0)
    labels = draw_labels(probabilities.log().expand(40_000, 5), generator)
    found = torch.bincount(labels, minlength=5) / len(labels)
    torch.testing.assert_close(found, probabilities, rtol=0, atol=0.01)
    assert found[3] == pytest.approx(0.01, rel=0.2)
    assert found[4] == 0


def test_the_loss_stays_that_of_the_text_and_the_gradient_is_that_of_the_labels() -> None:
    """Drawn from what the hidden states say, not from the ids, which are all zero here."""
    hidden = torch.randn(3, 40, 8, generator=torch.Generator().manual_seed(1)) * 2
    labels = drawn_by(hidden, LabelDraw(7))
    best = hidden[:, :-1].argmax(dim=-1)
    assert float((labels == best).float().mean()) > 0.3
    assert float((labels == 0).float().mean()) < 0.3


@pytest.mark.parametrize("rows", [1, 3, 4, 1000], ids=str)
def test_a_window_draws_the_same_wherever_it_runs(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Alone or beside others; but chunks of a window are drawn in order."""
    monkeypatch.setattr(loss, "CHUNK_LOGITS", rows * 8)
    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    together = drawn_by(hidden, LabelDraw(7), first_window=4)
    alone = [drawn_by(hidden[row, None], LabelDraw(7), first_window=4 + row) for row in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_other_windows_and_other_seeds_draw_otherwise() -> None:
    """Equal logits, and still no two windows that repeat each other."""
    hidden = torch.zeros(2, 30, 8)
    labels = drawn_by(hidden, LabelDraw(7))
    assert not torch.equal(labels[0], labels[1])
    assert not torch.equal(labels, drawn_by(hidden, LabelDraw(8)))
    assert torch.equal(labels, drawn_by(hidden, LabelDraw(7)))


@pytest.mark.slow
def test_the_fisher_of_drawn_labels_is_the_expected_one(tiny: Tiny) -> None:
    """Over all labels of the one predicted token: Σ_y p(y) · J_y² / 2, each J from the text y."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"), range(3, 4))
    first = random_ids(1, 1)[0]
    with torch.no_grad():
        probabilities = model(first[None]).logits[0, 0].softmax(dim=-1)
    expected = torch.zeros(24, dtype=torch.float64)
    for label, probability in enumerate(probabilities.double()):
        row = torch.cat([first, torch.tensor([label])])
        sums = measuring.measured(model, sites, [row], ["gate_fisher"]).sums["gate_fisher"]
        expected += probability * sums[3, "mlp"]
    rows = [torch.cat([first, first])] * 3000
    drawn = measuring.measured(model, sites, rows, ["gate_fisher"], 500, LabelDraw(1)).sums
    found = drawn["gate_fisher"][3, "mlp"]
    torch.testing.assert_close(found, expected, rtol=0.2, atol=0)
