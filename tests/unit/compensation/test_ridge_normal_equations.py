"""Sums over tokens are those of all tokens, however they came."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.compensation.ridge import NormalEquations

INPUTS, OUTPUTS = 5, 3


def tokens(count: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """What enters, and what it should give."""
    generator = torch.Generator().manual_seed(count)
    x, y = (torch.randn(count, width, generator=generator) for width in (INPUTS, OUTPUTS))
    return x.to(dtype), y.to(dtype)


def summed(*batches: tuple[torch.Tensor, ...]) -> NormalEquations:
    """The equations of some batches."""
    equations = NormalEquations(INPUTS, OUTPUTS)
    for batch in batches:
        equations.add(*batch)
    return equations


def assert_alike(found: NormalEquations, expected: NormalEquations) -> None:
    """The same sums, up to rounding of float64."""
    torch.testing.assert_close(found.gram, expected.gram)
    torch.testing.assert_close(found.cross, expected.cross)
    assert found.energy == pytest.approx(expected.energy)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=4))
def test_batches_sum_to_all_tokens_at_once(cuts: list[int]) -> None:
    """Added one after the other, empty batches too."""
    x, y = tokens(30)
    places = [0, *sorted(cuts), 30]
    parts = [(x[a:b], y[a:b]) for a, b in pairwise(places)]
    found = summed(*parts)
    assert_alike(found, summed((x, y)))


def test_the_error_is_the_part_of_the_energy_that_is_missed() -> None:
    """The same as summing squares token by token."""
    x, y = tokens(40)
    weights = torch.randn(INPUTS, OUTPUTS, dtype=torch.float64)
    expected = (x @ weights - y).square().sum() / y.square().sum()
    assert summed((x, y)).error(weights) == pytest.approx(float(expected))
    assert summed((x, y)).error(torch.zeros_like(weights)) == pytest.approx(1.0)
    assert summed((x, x @ weights)).error(weights) == pytest.approx(0.0, abs=1e-12)


def test_an_error_of_nothing_asked_is_finite() -> None:
    """Where the stream is not off at all there is no energy to take a part of."""
    x, _ = tokens(4)
    equations = summed((x, torch.zeros(4, OUTPUTS, dtype=x.dtype)))
    assert equations.error(torch.zeros(INPUTS, OUTPUTS)) == 0.0
    assert equations.error(torch.ones(INPUTS, OUTPUTS)) > 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_loses_nothing_more(dtype: torch.dtype) -> None:
    """Products that overflow float16, and sums that bfloat16 would round, are those of float64."""
    x, y = ((400 * part).to(dtype) for part in tokens(300))
    assert not (x.T @ x).double().isfinite().all() or dtype != torch.float16
    found, expected = summed((x, y)), summed((x.double(), y.double()))
    torch.testing.assert_close(found.gram, expected.gram, rtol=1e-5, atol=1.0)
    torch.testing.assert_close(found.cross, expected.cross, rtol=1e-5, atol=1.0)
    assert found.energy == pytest.approx(expected.energy, rel=1e-6)


def test_a_large_token_does_not_swallow_the_small_ones() -> None:
    """Batches are summed in float64: float32 would forget a token ten thousand times smaller."""
    x, y = tokens(2, torch.float32)
    large, small = (1e5 * x[:1], 1e5 * y[:1]), (x[1:], y[1:])
    found = summed(large, *[small] * 50)
    without = summed(large)
    expected = 50 * (x[1:].T @ x[1:]).double()
    torch.testing.assert_close(found.gram - without.gram, expected, rtol=1e-4, atol=1e-4)
