"""Errors of what was measured, checked against what resampling and theory say of them."""

import math
import statistics

import numpy as np
import pytest

from globalprune.artifacts.evaluations.evaluation import (
    MetricResult,
    median_of_rounds,
    metric_difference,
    perplexity_difference,
    perplexity_of,
    ratio_of_rounds,
)

WINDOWS = 400


def losses(seed: int) -> tuple[list[float], list[int]]:
    """Ragged windows of some hardness each, in nats."""
    numbers = np.random.default_rng(seed)
    tokens = numbers.integers(20, 200, WINDOWS)
    nll = tokens * numbers.normal(3.0, 0.4, WINDOWS)
    return nll.tolist(), tokens.tolist()


def test_perplexity_is_weighted_by_token() -> None:
    """A long window counts as its tokens do."""
    found = perplexity_of([2.0, 30.0], [1, 9], "sha256:1")
    assert found.value == pytest.approx(math.exp(3.2))
    assert (found.nll_sum, found.predicted_tokens) == (32.0, 10)


def test_the_error_is_what_resampling_windows_gives() -> None:
    """The bootstrap over windows is the yardstick; the formula meets it within a tenth."""
    nll, tokens = losses(0)
    found = perplexity_of(nll, tokens, "sha256:1")
    numbers = np.random.default_rng(1)
    picks = numbers.integers(0, WINDOWS, (2000, WINDOWS))
    resampled = np.exp(np.array(nll)[picks].sum(1) / np.array(tokens)[picks].sum(1))
    assert found.standard_error == pytest.approx(resampled.std(), rel=0.1)


def test_pairing_forgets_what_is_hard_for_both() -> None:
    """A model that loses the same on every token is worse for certain; unpaired it would not be."""
    nll, tokens = losses(0)
    old = perplexity_of(nll, tokens, "sha256:1")
    worse = [loss + 0.05 * count for loss, count in zip(nll, tokens, strict=True)]
    new = perplexity_of(worse, tokens, "sha256:1")
    moved = perplexity_difference(new, old)
    assert moved is not None
    assert old.value is not None
    assert old.standard_error is not None
    assert moved[1] is not None
    assert moved[0] == pytest.approx(old.value * (math.exp(0.05) - 1))
    assert moved[1] < 0.1 * old.standard_error


def test_the_paired_error_is_what_resampling_gives() -> None:
    """Also where the models differ from window to window."""
    nll, tokens = losses(0)
    other = [loss * factor for loss, factor in zip(nll, losses(5)[0], strict=True)]
    other = [loss / 300 for loss in other]
    old, new = (perplexity_of(side, tokens, "sha256:1") for side in (nll, other))
    moved = perplexity_difference(new, old)
    picks = np.random.default_rng(1).integers(0, WINDOWS, (2000, WINDOWS))
    counts = np.array(tokens)[picks].sum(1)
    sides = [np.exp(np.array(side)[picks].sum(1) / counts) for side in (nll, other)]
    assert moved is not None
    assert moved[1] == pytest.approx((sides[1] - sides[0]).std(), rel=0.15)


def test_other_windows_are_never_paired() -> None:
    """Of two different texts the difference of perplexities means nothing."""
    one, other = (perplexity_of([3.0, 4.0], [1, 1], digest) for digest in ("sha256:1", "sha256:2"))
    assert perplexity_difference(one, other) is None


def test_a_single_window_and_a_single_round_have_no_error() -> None:
    """One measurement says nothing of its noise; it isn't passed off as exact either."""
    one = perplexity_of([3.0], [1], "sha256:1")
    assert one.standard_error is None
    assert perplexity_difference(one, one) == (0.0, None)
    assert median_of_rounds([7.0]) == (7.0, None)


def test_a_ruined_model_has_no_finite_perplexity() -> None:
    """None stands for it, since JSON has no infinity; the sums stay."""
    found = perplexity_of([1e4], [1], "sha256:1")
    assert (found.value, found.standard_error, found.nll_sum) == (None, None, 1e4)


def test_rounds_that_drift_together_compare_well() -> None:
    """A machine that slows down for both models leaves their ratio alone."""
    drift = [1.0, 1.4, 0.8, 2.0, 1.1]
    old, new = [100 / slow for slow in drift], [130 / slow for slow in drift]
    assert ratio_of_rounds(new, old) == pytest.approx((1.3, 0.0))
    _, error = median_of_rounds(new)
    assert error is not None
    assert error > 10


def metric(right: str | None, error: float | None = 0.03) -> MetricResult:
    """An accuracy."""
    value = statistics.mean(map(int, right)) if right else 0.5
    return MetricResult(value=value, standard_error=error, right=right)


def test_documents_are_paired_where_they_are_the_same() -> None:
    """Two models that differ in one answer of a hundred differ by 0.01 ± 0.01."""
    old, new = metric("1" * 50 + "0" * 50), metric("1" * 51 + "0" * 49)
    paired = metric_difference(new, old, same_documents=True)
    apart = metric_difference(new, old, same_documents=False)
    assert paired == pytest.approx((0.01, 0.01, True))
    assert apart == pytest.approx((0.01, math.hypot(0.03, 0.03), False))


def test_a_metric_without_an_error_gives_a_difference_without_one() -> None:
    """And one that is no number gives none."""
    unknown = MetricResult(value=None, standard_error=None)
    assert metric_difference(metric(None, None), metric(None), same_documents=True) == (
        0.0,
        None,
        False,
    )
    assert metric_difference(unknown, metric("1"), same_documents=True) is None
