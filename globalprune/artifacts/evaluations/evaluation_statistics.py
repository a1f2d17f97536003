"""Standard errors of what an evaluation measured, and of differences between two models.

Two models that answered the same windows, documents or rounds are compared pair by pair: what is
hard for both, or slow for both, drops out of the difference. Everything here is plain arithmetic.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Final

from globalprune.artifacts.evaluations.evaluation_record import MetricResult, PerplexityResult

Estimate = tuple[float, float | None]  # a value and its standard error
_MEDIAN_INEFFICIENCY: Final = math.sqrt(math.pi / 2)  # of a median against a mean, normal noise


def perplexity_of(nll: Sequence[float], tokens: Sequence[int], windows: str) -> PerplexityResult:
    """Perplexity weighted by token; its error takes windows as the units (delta method).

    The mean loss is a ratio of sums over windows, so what a window says of its error is how far its
    nll lies from what its tokens would have at that mean.
    """
    total, predicted = math.fsum(nll), sum(tokens)
    value = _exp(total / predicted)
    error = _scaled_error(_residuals(nll, tokens), predicted)
    return PerplexityResult(
        value=value,
        standard_error=None if error is None or value is None else value * error,
        nll_sum=total,
        predicted_tokens=predicted,
        window_nll=tuple(nll),
        window_tokens=tuple(tokens),
        windows=windows,
    )


def perplexity_difference(new: PerplexityResult, old: PerplexityResult) -> Estimate | None:
    """How far perplexity moved, paired by window; None if the windows were other ones."""
    if new.windows != old.windows or new.value is None or old.value is None:
        return None
    pairs = zip(
        _residuals(new.window_nll, new.window_tokens),
        _residuals(old.window_nll, old.window_tokens),
        strict=True,
    )
    moved = [new.value * ours - old.value * theirs for ours, theirs in pairs]
    return new.value - old.value, _scaled_error(moved, new.predicted_tokens)


def median_of_rounds(rounds: Sequence[float]) -> Estimate:
    """The median round; a single one says nothing of the noise."""
    if len(rounds) == 1:
        return rounds[0], None
    error = _MEDIAN_INEFFICIENCY * statistics.stdev(rounds) / math.sqrt(len(rounds))
    return statistics.median(rounds), error


def ratio_of_rounds(new: Sequence[float], old: Sequence[float]) -> Estimate:
    """The median of the rounds' own ratios: both models ran in each, so its noise is shared."""
    return median_of_rounds([ours / theirs for ours, theirs in zip(new, old, strict=True)])


def metric_difference(
    new: MetricResult, old: MetricResult, *, same_documents: bool
) -> tuple[float, float | None, bool] | None:
    """How far a metric moved, its error, and whether that was paired by document.

    Unpaired, the two errors are added in quadrature, which overstates it where models agree.
    """
    if new.value is None or old.value is None:
        return None
    moved = new.value - old.value
    if same_documents and new.right and old.right and len(new.right) == len(old.right):
        differences = [int(ours) - int(theirs) for ours, theirs in zip(new.right, old.right)]  # noqa: B905 - their lengths were just compared
        return moved, _error_of_mean(differences), True
    if new.standard_error is None or old.standard_error is None:
        return moved, None, False
    return moved, math.hypot(new.standard_error, old.standard_error), False


def _residuals(nll: Sequence[float], tokens: Sequence[int]) -> list[float]:
    """What each window's nll is above that of as many tokens of the whole text."""
    mean = math.fsum(nll) / sum(tokens)
    return [loss - mean * count for loss, count in zip(nll, tokens, strict=True)]


def _scaled_error(residuals: Sequence[float], tokens: int) -> float | None:
    """The standard error of Σ residuals / tokens; a single unit has none."""
    units = len(residuals)
    if units == 1:
        return None
    squares = math.fsum(residual**2 for residual in residuals)
    return math.sqrt(squares * units / (units - 1)) / tokens


def _error_of_mean(values: Sequence[int]) -> float | None:
    """The standard error of a mean; a single value has none."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _exp(mean_nll: float) -> float | None:
    """Perplexity of a mean loss; a ruined model can exceed what a float holds."""
    try:
        return math.exp(mean_nll)
    except OverflowError:
        return None
