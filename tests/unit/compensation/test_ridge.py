"""Ridge regression that pulls towards what stands there, and changes it only for the better."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.compensation.ridge import STRENGTHS, NormalEquations, ridge_towards, solve_ridge

INPUTS, OUTPUTS = 6, 4


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equations(x: torch.Tensor, y: torch.Tensor) -> NormalEquations:
    """The equations of these tokens."""
    found = NormalEquations(x.shape[1], y.shape[1])
    found.add(x, y)
    return found


def task(tokens: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of one linear map, which every seed draws other tokens and other noise of."""
    x = draw(tokens, INPUTS, seed=seed)
    return x, x @ draw(INPUTS, OUTPUTS, seed=99) + noise * draw(tokens, OUTPUTS, seed=seed + 50)


PRIOR = draw(INPUTS, OUTPUTS, seed=7)


def test_a_huge_strength_changes_nothing() -> None:
    """And not to weights of zero, as a ridge about zero would."""
    found = ridge_towards(equations(*task(50, 1)), PRIOR, 1e12)
    torch.testing.assert_close(found, PRIOR, rtol=1e-6, atol=1e-9)


def test_a_tiny_strength_is_least_squares() -> None:
    """Whatever stood there before."""
    x, y = task(50, 1)
    found = ridge_towards(equations(x, y), PRIOR, 1e-12)
    torch.testing.assert_close(found, torch.linalg.lstsq(x, y).solution, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strength", [1e-2, 1.0])
def test_a_strength_between_is_least_squares_with_more_tokens(strength: float) -> None:
    """Each input by itself, asked for what the prior gives: that is what the ridge adds."""
    x, y = task(30, 2)
    root = (strength * x.square().sum(dim=0).mean()).sqrt()
    more = torch.cat([x, root * torch.eye(INPUTS, dtype=x.dtype)])
    wanted = torch.linalg.lstsq(more, torch.cat([y, root * PRIOR])).solution
    found = ridge_towards(equations(x, y), PRIOR, strength)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("noise", [0.0, 3.0, 8.0], ids=["none", "some", "much"])
def test_tokens_that_were_not_fitted_choose_the_strength(noise: float) -> None:
    """The best of all strengths by the squares that it leaves there, token by token."""
    x, y = task(12, 3, noise)
    fitted, (held_x, held_y) = equations(x, y), task(400, 4, noise)
    errors = {
        strength: float(
            (held_x @ ridge_towards(fitted, PRIOR, strength) - held_y).square().sum()
            / held_y.square().sum()
        )
        for strength in STRENGTHS
    }
    found = solve_ridge(fitted, equations(held_x, held_y), PRIOR)
    assert found.strength == min(errors, key=errors.__getitem__)
    assert found.strength is not None
    assert found.error_after == pytest.approx(errors[found.strength])
    before = (held_x @ PRIOR - held_y).square().sum() / held_y.square().sum()
    assert found.error_before == pytest.approx(float(before))


def test_noise_makes_the_ridge_stronger() -> None:
    """Few noisy tokens are trusted less than few exact ones."""
    strengths = [
        solve_ridge(equations(*task(10, 3, noise)), equations(*task(200, 4, noise)), PRIOR).strength
        for noise in (0.0, 6.0)
    ]
    assert None not in strengths
    assert strengths[0] == min(STRENGTHS)
    assert strengths[1] > strengths[0]  # type: ignore[operator]


def test_nothing_is_fitted_to_what_is_held_out() -> None:
    """It chooses the strength, and the weights are those of the other tokens."""
    fitted, held_out = equations(*task(20, 5)), equations(*task(20, 6))
    found = solve_ridge(fitted, held_out, PRIOR)
    assert found.strength is not None
    expected = ridge_towards(fitted, PRIOR, found.strength)
    torch.testing.assert_close(found.weights, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_change_for_the_worse_is_refused(dtype: torch.dtype) -> None:
    """The weights are the prior to the last bit, and the record says that nothing changed."""
    x, y = task(20, 8)
    prior = PRIOR.to(dtype)
    contrary = equations(x, x @ prior.double() - 0.1 * (y - x @ prior.double()))
    found = solve_ridge(equations(x, y), contrary, prior)
    assert found.weights.dtype == dtype
    assert torch.equal(found.weights, prior)
    assert found.strength is None
    assert found.error_after == found.error_before


def test_nothing_is_better_than_a_prior_without_error() -> None:
    """Where the stream is not off, the weights stay."""
    x, _ = task(20, 9)
    perfect = equations(x, x @ PRIOR)
    assert solve_ridge(perfect, perfect, PRIOR).error_after <= 1e-12


def test_the_result_has_the_dtype_of_what_stood_there() -> None:
    """Solved in float64, rounded once."""
    fitted, held_out = equations(*task(40, 1)), equations(*task(40, 2))
    wide = solve_ridge(fitted, held_out, PRIOR.bfloat16().double())
    found = solve_ridge(fitted, held_out, PRIOR.bfloat16())
    assert found.strength is not None
    assert torch.equal(found.weights, wide.weights.bfloat16())


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 12), dead=st.sets(st.integers(0, INPUTS - 1)), seed=st.integers(0, 1000)
)
def test_a_singular_matrix_gives_finite_weights(tokens: int, dead: set[int], seed: int) -> None:
    """Fewer tokens than inputs, and inputs that are always zero: those keep their old weights."""
    x, y = task(tokens, seed)
    held_x, held_y = task(30, seed + 1)
    for rows in (x, held_x):
        rows[:, sorted(dead)] = 0
    found = solve_ridge(equations(x, y), equations(held_x, held_y), PRIOR)
    assert found.weights.isfinite().all()
    assert found.error_after <= found.error_before
    assert torch.equal(found.weights[sorted(dead)], PRIOR[sorted(dead)])


def test_twins_share_what_is_asked_of_both() -> None:
    """Two inputs that are always alike get the same change: least squares alone couldn't say."""
    x, y = task(40, 1)
    x[:, 1] = x[:, 0]
    found = ridge_towards(equations(x, y), PRIOR, min(STRENGTHS)) - PRIOR
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
