"""Labels drawn from the model's own distribution."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from tiny_models import random_ids
from torch import nn

from globalprune.passes import loss
from globalprune.passes.head import Head
from globalprune.passes.labels import LabelDraw, draw_labels
from globalprune.passes.loss import head_gradient

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
