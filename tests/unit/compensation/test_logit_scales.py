"""Scales for the final norm: the best near one, judged by tokens they were not fitted to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from globalprune.compensation import logit_scales
from globalprune.compensation.logit_scales import fit_logit_scales

TOKENS, WIDTH, WORDS = 400, 8, 40


def draw(*shape: int, seed: int) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHT = draw(WORDS, WIDTH, seed=0)


def logits(hidden: torch.Tensor) -> torch.Tensor:
    """The logits of these hidden states."""
    return hidden @ WEIGHT.T


def said_of(hidden: torch.Tensor) -> torch.Tensor:
    """The log-probabilities that these hidden states give."""
    return functional.log_softmax(logits(hidden), dim=-1)


def divergence(hidden: torch.Tensor, said: torch.Tensor) -> float:
    """KL in nats a token, written out."""
    ours = said_of(hidden)
    return float((said.exp() * (said - ours)).sum(dim=-1).mean())


def test_scales_that_were_lost_are_found() -> None:
    """Channels that were blown up and shrunk come back, from as few tokens as these."""
    hidden, wrong = draw(TOKENS, WIDTH, seed=1), 1 + 0.3 * draw(WIDTH, seed=2)
    found = fit_logit_scales(hidden * wrong, said_of(hidden), logits, penalty=1e-3)
    assert found.scales is not None
    torch.testing.assert_close(found.scales, 1 / wrong, rtol=0, atol=0.02)
    assert found.divergence_before == pytest.approx(divergence(hidden * wrong, said_of(hidden)))
    assert found.divergence_after < 1e-3 * found.divergence_before


def test_a_model_that_is_too_sure_is_cooled() -> None:
    """Noise in the hidden states makes smaller logits the better ones, on other tokens too."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    noisy = hidden + draw(TOKENS, WIDTH, seed=3)
    found = fit_logit_scales(noisy, said_of(hidden), logits)
    assert found.scales is not None
    assert float(found.scales.max()) < 1
    others = draw(TOKENS, WIDTH, seed=4)
    noisy_others = others + draw(TOKENS, WIDTH, seed=5)
    cooled = divergence(noisy_others * found.scales, said_of(others))
    assert cooled < divergence(noisy_others, said_of(others))
    assert cooled == pytest.approx(found.divergence_after, rel=0.2)


def test_scales_stay_where_they_would_only_fit_noise() -> None:
    """The same hidden states need none; whatever is fitted then is worse on the other half."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    found = fit_logit_scales(hidden, said_of(hidden), logits)
    assert found.scales is None
    assert found.divergence_after == found.divergence_before == pytest.approx(0, abs=1e-6)


def test_a_huge_penalty_keeps_them_at_one() -> None:
    """The prior is no change."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    found = fit_logit_scales(2 * hidden, said_of(hidden), logits, penalty=1e9)
    assert found.scales is None or float((found.scales - 1).abs().max()) < 1e-4


def test_what_is_not_finite_changes_nothing() -> None:
    """Scales that are no numbers are never taken."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    found = fit_logit_scales(hidden * float("nan"), said_of(hidden), logits)
    assert found.scales is None


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.floats(0, 2), tokens=st.integers(2, 60))
def test_the_divergence_on_other_tokens_never_rises(seed: int, noise: float, tokens: int) -> None:
    """Whatever the noise, and however few tokens there are."""
    hidden = draw(tokens, WIDTH, seed=seed)
    noisy = hidden + noise * draw(tokens, WIDTH, seed=seed + 1)
    found = fit_logit_scales(noisy, said_of(hidden), logits)
    assert found.divergence_after <= found.divergence_before
    assert (found.scales is None) == (found.divergence_after == found.divergence_before)


def test_few_logits_at_a_time_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are a matter of memory."""
    hidden = draw(TOKENS, WIDTH, seed=1)
    noisy, said = hidden + draw(TOKENS, WIDTH, seed=3), said_of(hidden)
    whole = fit_logit_scales(noisy, said, logits)
    monkeypatch.setattr(logit_scales, "_ROWS", 7)
    pieces = fit_logit_scales(noisy, said, logits)
    assert whole.scales is not None
    assert pieces.scales is not None
    torch.testing.assert_close(pieces.scales, whole.scales, rtol=1e-3, atol=1e-3)
