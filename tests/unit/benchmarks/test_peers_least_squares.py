"""The closed forms agree with solving the least squares that they stand for."""

import torch
from peers.least_squares import Gram, Squares, damped, obs_scores, obs_update, ridge

TOKENS, INPUTS, OUTPUTS = 60, 12, 5


def problem(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Gram]:
    """Correlated inputs `[T, D]`, a weight `[O, D]`, and the Gram matrix."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(INPUTS, INPUTS, generator=generator)
    inputs = torch.randn(TOKENS, INPUTS, generator=generator) @ mixing
    weight = torch.randn(OUTPUTS, INPUTS, generator=generator, dtype=torch.float64)
    gram = Gram()
    for batch in (inputs[:25], inputs[25:]):
        gram.take(batch.double())
    return inputs.double(), weight, gram


def test_a_gram_matrix_is_wider_than_the_model() -> None:
    """Products of bfloat16 inputs are not rounded to bfloat16 before they are summed."""
    inputs = torch.randn(TOKENS, INPUTS, generator=torch.Generator().manual_seed(1)).bfloat16()
    gram = Gram()
    gram.take(inputs)
    exact = inputs.double().T @ inputs.double()
    torch.testing.assert_close(gram.matrix, exact, rtol=1e-5, atol=1e-5)


def refitted(inputs: torch.Tensor, weight: torch.Tensor, stays: torch.Tensor) -> torch.Tensor:
    """The weight whose kept columns fit the whole output best, by a solver of its own."""
    whole = torch.zeros_like(weight)
    whole[:, stays] = torch.linalg.lstsq(inputs[:, stays], inputs @ weight.T).solution.T
    return whole


def without(*gone: int) -> torch.Tensor:
    """The columns that stay."""
    stays = torch.ones(INPUTS, dtype=torch.bool)
    stays[list(gone)] = False
    return stays


def test_a_gram_adds_up_over_batches() -> None:
    """Batches don't matter, and the diagonal is the squared norms."""
    inputs, _, gram = problem()
    squares = Squares()
    squares.take(inputs)

    torch.testing.assert_close(gram.matrix, inputs.T @ inputs)
    torch.testing.assert_close(gram.squares(), squares.squares())


def test_a_channels_score_is_the_error_that_its_exact_removal_leaves() -> None:
    """½‖W_u‖² / (H⁻¹)_uu is half the squared error of the best fit without u."""
    inputs, weight, gram = problem()

    scores = obs_scores(weight, gram.matrix, INPUTS, damp=0.0)

    for channel in range(INPUTS):
        left = inputs @ (weight - refitted(inputs, weight, without(channel))).T
        torch.testing.assert_close(scores[channel], left.square().sum() / 2)


def test_a_groups_score_is_the_error_that_its_exact_removal_leaves() -> None:
    """The same for groups of three columns."""
    inputs, weight, gram = problem(seed=1)

    scores = obs_scores(weight, gram.matrix, INPUTS // 3, damp=0.0)

    for group in range(INPUTS // 3):
        stays = without(*range(3 * group, 3 * group + 3))
        left = inputs @ (weight - refitted(inputs, weight, stays)).T
        torch.testing.assert_close(scores[group], left.square().sum() / 2)


def test_reconstructions_without_a_ridge_are_least_squares() -> None:
    """GRAIL's map and the surgeon's update meet where neither is damped."""
    inputs, weight, gram = problem()
    stays = without(0, 4, 5, 11)
    expected = refitted(inputs, weight, stays)

    torch.testing.assert_close(ridge(weight, gram.matrix, stays, 0.0), expected)
    torch.testing.assert_close(obs_update(weight, gram.matrix, stays, 0.0), expected)


def test_a_heavy_ridge_leads_to_zero_and_a_heavy_damp_to_the_old_weights() -> None:
    """What the two are drawn towards differs."""
    _, weight, gram = problem()
    stays = without(2, 3)

    towards_zero = ridge(weight, gram.matrix, stays, 1e9)
    towards_old = obs_update(weight, gram.matrix, stays, 1e9)

    assert towards_zero.abs().max() < 1e-6
    torch.testing.assert_close(towards_old, weight * stays, atol=1e-6, rtol=0)


def test_the_ridge_is_that_of_more_rows() -> None:
    """λ = damp · mean(diag H_SS): the same as fitting √λ·I to zeros besides."""
    inputs, weight, gram = problem()
    stays = without(1, 7)
    kept = inputs[:, stays]
    width = 0.1 * (kept.T @ kept).diagonal().mean()
    rows = torch.cat([kept, width.sqrt() * torch.eye(kept.shape[1], dtype=torch.float64)])
    targets = torch.cat([inputs @ weight.T, torch.zeros(kept.shape[1], OUTPUTS).double()])

    found = ridge(weight, gram.matrix, stays, 0.1)

    torch.testing.assert_close(found[:, stays], torch.linalg.lstsq(rows, targets).solution.T)
    assert not found[:, ~stays].any()


def test_a_column_that_nothing_enters_stops_no_inverse() -> None:
    """A dead channel costs nothing to remove, and the others' scores are finite."""
    _, weight, gram = problem()
    dead = gram.matrix.clone()
    dead[3] = dead[:, 3] = 0

    scores = obs_scores(weight, dead, INPUTS, damp=1e-2)

    assert torch.isfinite(scores).all()
    assert damped(dead, 0.0)[3, 3] == 1
