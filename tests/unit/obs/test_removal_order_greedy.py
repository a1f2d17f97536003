"""The order of removals and its losses, against solving what stays by brute force."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.obs.removal_order import (
    DAMPING,
    RemovalOrder,
    measured_losses,
    one_shot_losses,
    removal_order,
)

OUTPUTS = 5
SHAPES = pytest.mark.parametrize(
    ("groups", "width"), [(7, 1), (40, 1), (6, 4), (20, 2)], ids=["7", "40", "6 of 4", "20 of 2"]
)


class Problem(NamedTuple):
    """What the functions take, in their order."""

    moment: torch.Tensor
    curvature: torch.Tensor
    weights: torch.Tensor
    width: int

    def loss(self, gone: list[int]) -> float:
        """What is lost if these groups go and the other weights are compensated."""
        damped = self.moment + DAMPING * torch.diag(self.moment.diagonal())
        stays = torch.ones(len(damped), dtype=torch.bool)
        for group in gone:
            stays[group * self.width : (group + 1) * self.width] = False
        solved = torch.zeros_like(self.weights)
        solved[stays] = torch.linalg.solve(damped[stays][:, stays], damped[stays] @ self.weights)
        off = self.weights - solved
        return 0.5 * float((self.curvature * (off * (damped @ off)).sum(dim=0)).sum())


def problem(groups: int, width: int, seed: int = 0) -> Problem:
    """A drawn problem whose inputs are of several sizes and go together."""
    generator = torch.Generator().manual_seed(seed)
    inputs = groups * width

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tokens = draw(3 * inputs, inputs) @ (torch.eye(inputs) + 0.3 * draw(inputs, inputs))
    tokens *= 1 + draw(inputs).abs()
    return Problem(
        tokens.T @ tokens / len(tokens), draw(OUTPUTS).abs(), draw(inputs, OUTPUTS), width
    )


@SHAPES
def test_the_first_losses_are_those_of_solving_the_rest(groups: int, width: int) -> None:
    """Group by group, as if it were the only one to go."""
    given_problem = problem(groups, width)
    expected = [given_problem.loss([group]) for group in range(groups)]
    found = one_shot_losses(*given_problem)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@SHAPES
def test_the_losses_add_up_to_those_of_the_whole_set(groups: int, width: int) -> None:
    """After every step: removing the set at once and solving the rest loses as much."""
    given_problem = problem(groups, width)
    order = removal_order(*given_problem)
    gone = order.groups.tolist()
    expected = [given_problem.loss(gone[: count + 1]) for count in range(groups)]
    found = order.losses.cumsum(0)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-3 if width == 1 else 1e-8, atol=0)


@settings(max_examples=15, deadline=None)
@given(groups=st.integers(1, 9), width=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_each_step_takes_the_cheapest(groups: int, width: int, seed: int) -> None:
    """Of the remaining groups, with the weights compensated so far; every group goes once."""
    given_problem = problem(groups, width, seed)
    order = removal_order(*given_problem)
    gone: list[int] = []
    for group in order.groups.tolist():
        standing = set(range(groups)) - set(gone)
        losses = {other: given_problem.loss([*gone, other]) for other in standing}
        assert losses[group] <= min(losses.values()) * (1 + 1e-4)
        gone.append(group)
    assert sorted(gone) == list(range(groups))
    assert order.groups[0] == one_shot_losses(*given_problem).argmin()


def test_of_twins_the_first_to_go_is_nearly_free() -> None:
    """What the other can take over isn't lost; once it is alone, it is dear."""
    moment, curvature, weights, width = problem(8, 1)
    moment[3], moment[:, 3] = moment[5], moment[:, 5]
    moment[3, 3] = moment[5, 5]
    order = removal_order(moment, curvature, weights, width)
    losses = dict(zip(order.groups.tolist(), order.losses.tolist(), strict=True))
    first, last = sorted((losses[3], losses[5]))
    assert first < 0.1 * last


@pytest.mark.parametrize("width", [1, 2])
def test_the_scale_of_an_input_changes_nothing(width: int) -> None:
    """An input a hundred times larger, whose weights are as much smaller, says the same."""
    moment, curvature, weights, _ = problem(10, width)
    scales = 10.0 ** (torch.arange(10 * width, dtype=torch.float64) % 5 - 2)
    scaled = (scales[:, None] * moment * scales, curvature, weights / scales[:, None], width)
    expected = removal_order(moment, curvature, weights, width)
    found = removal_order(*scaled)
    assert found.groups.tolist() == expected.groups.tolist()
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-3, atol=0)


def test_guarded_groups_go_last() -> None:
    """The cheapest too, in the order of what they lose then; all others as if they weren't."""
    given_problem = problem(20, 1)
    cheap = removal_order(*given_problem).groups[:3]
    guarded = torch.zeros(20, dtype=torch.bool)
    guarded[cheap] = True
    order = removal_order(*given_problem, guarded)
    assert set(order.groups[-3:].tolist()) == set(cheap.tolist())
    expected = [given_problem.loss(order.groups[: count + 1].tolist()) for count in range(20)]
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(order.losses.cumsum(0), wanted, rtol=1e-3, atol=0)


def test_what_the_text_never_shows_goes_first() -> None:
    """A group without inputs, and one without weights, cost next to nothing."""
    moment, curvature, weights, width = problem(6, 2)
    moment[4:6], moment[:, 4:6] = 0, 0
    weights[8:10] = 0
    order = removal_order(moment, curvature, weights, width)
    assert set(order.groups[:2].tolist()) == {2, 4}


def test_a_sublayer_that_feels_nothing_still_has_an_order() -> None:
    """All zeros: every group once, every loss finite."""
    zeros = torch.zeros(6, 6)
    order = removal_order(zeros, torch.zeros(OUTPUTS), torch.zeros(6, OUTPUTS), 2)
    assert sorted(order.groups.tolist()) == [0, 1, 2]
    assert order.losses.tolist() == [0.0, 0.0, 0.0]


def test_curvature_below_zero_counts_as_none() -> None:
    """Noise of an estimate must not reward a removal."""
    moment, curvature, weights, width = problem(5, 1)
    below = curvature.clone()
    below[2] = -3.0
    floored = curvature.clone()
    floored[2] = 0.0
    found = one_shot_losses(moment, below, weights, width)
    assert torch.equal(found, one_shot_losses(moment, floored, weights, width))
    assert (found >= 0).all()


def test_inputs_are_left_as_they_were() -> None:
    """The matrices of the caller are not used up."""
    given_problem = problem(20, 1)
    parts = given_problem[:3]
    copies = [part.clone() for part in parts]
    removal_order(*given_problem)
    assert all(torch.equal(part, copy) for part, copy in zip(parts, copies, strict=True))


def order(*losses: float) -> RemovalOrder:
    """An order that takes the last group first."""
    return RemovalOrder(
        torch.arange(len(losses)).flip(0), torch.tensor(losses, dtype=torch.float64)
    )


@given(
    st.lists(st.floats(1e-6, 10), min_size=5, max_size=20),
    st.floats(1e-6, 10),
    st.floats(1, 10),
)
def test_the_curve_goes_through_its_trials(
    losses: list[float], first: float, dearer: float
) -> None:
    """What was measured is what is lost by then; between, the prediction's shape stays."""
    second = first * (1 + dearer * sum(losses[2:4]) / sum(losses[:2]))
    found = measured_losses(order(*losses), {2: first, 4: second})
    assert float(found.losses[:2].sum()) == pytest.approx(first)
    assert float(found.losses[:4].sum()) == pytest.approx(second)
    assert found.losses[0] * losses[1] == pytest.approx(found.losses[1] * losses[0])


def test_behind_the_last_trial_its_scale_goes_on() -> None:
    """The last stretch cost twice what was predicted, and so will the rest."""
    found = measured_losses(order(1, 1, 2, 3), {1: 5, 3: 11})
    assert found.losses.tolist() == [5, 2, 4, 6]
    assert found.by_group.argsort().tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("second", [3.0, 4.0, 4.1], ids=["less", "as much", "hardly more"])
def test_noise_makes_nothing_behind_it_free(second: float) -> None:
    """Where more removed seems to cost no more, both stretches and the rest share a factor."""
    found = measured_losses(order(1, 1, 1, 5), {1: 4, 2: second}).losses
    assert found.tolist() == pytest.approx([second / 2 * loss for loss in (1, 1, 1, 5)])


def test_what_was_predicted_to_be_free_stays_free() -> None:
    """A sublayer that a plan has emptied already has nothing to scale."""
    assert measured_losses(order(0, 0, 1), {1: 0.5, 3: 2}).losses.tolist() == [0, 0, 2]
