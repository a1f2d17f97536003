"""The descent ends at the least squares, and earlier where other tokens say so."""

from dataclasses import dataclass

import pytest
import torch

from globalprune.compensation.conjugate_gradients import STEPS, Blocks, descend


@dataclass
class Rows:
    """Σ |x_tᵀd - y_t|², and other rows that judge."""

    x: torch.Tensor  # [T, n]
    y: torch.Tensor  # [T]
    judging: tuple[torch.Tensor, torch.Tensor]
    inverse: torch.Tensor | None = None
    products: int = 0

    @property
    def gradient(self) -> Blocks:
        """Xᵀy, in two blocks."""
        return _parted(self.x.T @ self.y)

    def product(self, direction: Blocks) -> Blocks:
        """XᵀX·direction."""
        self.products += 1
        return _parted(self.x.T @ (self.x @ torch.cat(direction)))

    def precondition(self, gradient: Blocks) -> Blocks:
        """Nothing, or the inverse that is given."""
        if self.inverse is None:
            return gradient
        return _parted(self.inverse @ torch.cat(gradient))

    def error(self, step: Blocks) -> float:
        """Of the rows that judge."""
        x, y = self.judging
        return float((x @ torch.cat(step) - y).square().sum())


def _parted(values: torch.Tensor) -> Blocks:
    return values[:2], values[2:]


def rows(unknowns: int, *, noise: float = 0.0, tokens: int = 40) -> Rows:
    """Rows of a linear truth, and as many others of the same."""
    generator = torch.Generator().manual_seed(unknowns)
    truth = torch.randn(unknowns, generator=generator, dtype=torch.float64)
    pairs = []
    for _ in range(2):
        x = torch.randn(tokens, unknowns, generator=generator, dtype=torch.float64)
        off = torch.randn(tokens, generator=generator, dtype=torch.float64)
        pairs.append((x, x @ truth + noise * off))
    return Rows(*pairs[0], pairs[1])


def zero(problem: Rows) -> float:
    """The error where nothing is moved."""
    return problem.error(tuple(map(torch.zeros_like, problem.gradient)))


@pytest.mark.parametrize("unknowns", [3, STEPS])
def test_as_many_steps_as_unknowns_solve(unknowns: int) -> None:
    """In exact arithmetic no more are needed (Hestenes and Stiefel, theorem 4:1)."""
    problem = rows(unknowns)
    found = descend(problem, problem.gradient, zero(problem))
    assert found.step is not None
    solution = torch.linalg.lstsq(problem.x, problem.y[:, None]).solution[:, 0]
    torch.testing.assert_close(torch.cat(found.step), solution, rtol=1e-8, atol=1e-8)
    assert found.error < 1e-12


def test_a_perfect_inverse_needs_one_step() -> None:
    """The preconditioner is used as such."""
    problem = rows(12)
    problem.inverse = torch.linalg.inv(problem.x.T @ problem.x)
    found = descend(problem, problem.gradient, zero(problem))
    assert found.error < 1e-12
    assert problem.products <= 4  # and what it takes to see that no more is to be had


def test_what_others_deny_is_not_taken() -> None:
    """The best point on the way counts, not the last; its error is its own."""
    problem = rows(30, noise=3.0)
    found = descend(problem, problem.gradient, zero(problem))
    solution = torch.linalg.lstsq(problem.x, problem.y[:, None]).solution[:, 0]
    assert found.step is not None
    assert found.error == problem.error(found.step)
    assert found.error < zero(problem)
    assert found.error < problem.error(_parted(solution))


def test_where_every_step_is_worse_there_is_none() -> None:
    """Tokens that ask for the contrary judge."""
    problem = rows(6)
    x, y = problem.judging
    problem.judging = (x, -y)
    found = descend(problem, problem.gradient, zero(problem))
    assert (found.step, found.error) == (None, zero(problem))
    assert problem.products == 2


def test_nothing_to_do_is_nothing_done() -> None:
    """A gradient of zeros: no division by it."""
    problem = rows(4)
    problem.y = torch.zeros_like(problem.y)
    found = descend(problem, problem.gradient, zero(problem))
    assert found.step is None
    assert problem.products <= 1


def test_what_is_no_number_moves_nothing() -> None:
    """Neither an infinite product nor an error that is none counts as better."""
    problem = rows(4)
    problem.judging = (problem.judging[0] * torch.nan, problem.judging[1])
    assert descend(problem, problem.gradient, 1.0).step is None
