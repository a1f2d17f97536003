"""Predicted losses, scaled to trials."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from globalprune.compensation.measured_losses import measured_losses
from globalprune.compensation.removal_order import RemovalOrder


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
    """A half that a plan has emptied already has nothing to scale."""
    assert measured_losses(order(0, 0, 1), {1: 0.5, 3: 2}).losses.tolist() == [0, 0, 2]
