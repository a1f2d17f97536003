"""Scores made comparable between sublayers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.artifacts.analyses.normalisers import (
    NORMALISER_NAMES,
    Floats,
    NormaliserName,
    average_ranks,
    normalised,
    normaliser_named,
)
from globalprune.errors import UsageError

# two sublayers, the rows of one between those of the other, of other costs and scales
IMPORTANCE = np.array([10.0, 800.0, 30.0, 200.0, 20.0])
COST = np.array([10, 100, 10, 100, 10])
SUBLAYERS = [np.array([0, 2, 4]), np.array([3, 1])]
NUMBERS = st.lists(st.floats(0, 1e6), min_size=1, max_size=8)


def scores(name: NormaliserName, importance: Floats = IMPORTANCE) -> list[float]:
    """The scores of the rows of both sublayers."""
    found: list[float] = (normalised(name, importance, COST, SUBLAYERS) / COST).tolist()
    return found


def test_without_a_normaliser_importances_stay_to_the_last_bit() -> None:
    """A tenth divided and multiplied again may be another number."""
    assert normalised("none", IMPORTANCE, COST, SUBLAYERS) is IMPORTANCE


def test_mean_tells_how_many_times_the_average_a_group_is_worth() -> None:
    """Both sublayers then have a mean score of one, whatever their units."""
    assert scores("mean") == pytest.approx([0.5, 1.6, 1.5, 0.4, 1.0])
    louder = IMPORTANCE * np.array([7, 1, 7, 1, 7])
    assert scores("mean", louder) == pytest.approx(scores("mean"))


def test_rank_tells_where_in_its_half_a_group_stands() -> None:
    """The middle of the part of the sublayer that it is."""
    assert scores("rank") == pytest.approx([1 / 6, 3 / 4, 5 / 6, 1 / 4, 1 / 2])


def test_standard_counts_deviations_and_is_never_negative() -> None:
    """The lowest of all is nought; distances are those of the standardised scores."""
    step = np.sqrt(1.5)  # of 1, 2, 3 in standard deviations
    assert scores("standard") == pytest.approx([0, step + 1, 2 * step, step - 1, step])


@pytest.mark.parametrize("name", NORMALISER_NAMES)
def test_a_sublayer_whose_groups_are_all_alike_has_numbers_too(name: NormaliserName) -> None:
    """Also where all are worth nothing: no mean and no deviation is divided by."""
    for value in (0.0, 3.0):
        found = normalised(name, np.full(5, value), COST, SUBLAYERS) / COST
        assert np.isfinite(found).all()
        assert all(len(set(found[sublayer].tolist())) == 1 for sublayer in SUBLAYERS)


def test_mean_keeps_the_order_of_importances_that_are_negative() -> None:
    """A column of one's own may hold anything; a negative mean would turn it round."""
    found = scores("mean", -IMPORTANCE)
    assert found[2] < found[4] < found[0] < 0


@pytest.mark.parametrize("name", NORMALISER_NAMES)
@settings(deadline=None, max_examples=30)
@given(first=NUMBERS, second=NUMBERS)
def test_inside_a_sublayer_no_order_changes(
    name: NormaliserName, first: list[float], second: list[float]
) -> None:
    """What is worth less than another of its sublayer still is, and what tied ties."""
    values = np.array([*first, *second])
    sublayers = [np.arange(len(first)), len(first) + np.arange(len(second))]
    found = normalised(name, values, np.full(len(values), 3), sublayers)
    for sublayer in sublayers:
        for one in sublayer:
            for other in sublayer:
                if values[one] <= values[other]:
                    assert found[one] <= found[other]


def test_ties_share_the_mean_of_their_ranks() -> None:
    """Ranks begin at one, and add up to what they would without ties."""
    assert average_ranks(np.array([5.0, 1.0, 5.0, 9.0, 5.0])).tolist() == [3, 1, 3, 5, 3]


def test_an_unknown_normaliser_is_refused_with_those_that_there_are() -> None:
    """By name, as it is asked for."""
    with pytest.raises(
        UsageError,
        match=r"^--normaliser: median is not known; there are none, mean, rank, standard\.$",
    ):
        normaliser_named("median")
