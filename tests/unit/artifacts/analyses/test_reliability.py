"""How far two halves of the windows agree, on scores small enough to be compared by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.artifacts.analyses.reliability import (
    Reliability,
    SharedCut,
    agreement,
    reliability_of,
)

EVEN = np.ones(10, np.int64)
RISING = np.arange(10.0)


def of(
    first: list[float], second: list[float], costs: list[int], parameters: int = 100
) -> Reliability:
    """The reliability of scores in lists."""
    return reliability_of(np.array(first), np.array(second), np.array(costs), parameters)


def shared(found: Reliability) -> dict[float, float]:
    """What the cuts share, by their ratios."""
    return {cut.ratio: cut.shared for cut in found.cuts}


def test_equal_ranks_agree_wholly_whatever_the_scores() -> None:
    """Only order cuts."""
    found = reliability_of(RISING, np.exp(RISING), EVEN, 10)
    assert found.rank_correlation == 1
    assert set(shared(found).values()) == {1.0}


def test_opposite_ranks_agree_on_nothing() -> None:
    """Until the cuts are so large that they must meet."""
    found = reliability_of(RISING, -RISING, EVEN, 15)
    assert found.rank_correlation == -1
    # of 15 parameters: 2, 3, 5, 6 and 8 of ten groups go in each
    assert shared(found) == {0.1: 0, 0.2: 0, 0.3: 0, 0.4: pytest.approx(2 / 6, abs=1e-4), 0.5: 0.75}


def test_spearmans_correlation_is_that_of_the_textbook() -> None:
    """1 - 6 Σ d² / n (n² - 1), where nothing ties."""
    found = of([1, 2, 3, 4, 5], [2, 1, 30, 5, 4], [1] * 5)
    assert found.rank_correlation == pytest.approx(1 - 6 * (1 + 1 + 4 + 0 + 4) / (5 * 24), abs=1e-4)


def test_what_ties_in_both_is_no_disagreement_and_in_one_no_agreement() -> None:
    """No division by a spread that there is not."""
    assert of([3, 3, 3], [7, 7, 7], [1] * 3).rank_correlation == 1
    assert of([3, 3, 3], [7, 8, 9], [1] * 3).rank_correlation == 0
    assert of([3], [7], [1]).rank_correlation == 1


def test_the_shared_part_is_of_parameters_and_not_of_groups() -> None:
    """One cut takes the large group and a small one, the other five small ones beside the first."""
    first = of([0, 1, 2, 3, 4, 5], [0, 9, 2, 3, 4, 5], [10, 50, 10, 10, 10, 10], parameters=200)
    # a fifth of 200 is 40: the first takes 10 and 50, the second 10, 10, 10 and 10
    assert shared(first)[0.2] == pytest.approx(2 * 10 / (60 + 40))


def test_only_ratios_that_the_groups_allow_are_compared() -> None:
    """A few layers of a model hold too little for the larger ones."""
    assert list(shared(reliability_of(RISING, RISING, EVEN, 40))) == [0.1, 0.2]
    assert reliability_of(RISING, RISING, EVEN, 1000).cuts == ()


def test_a_tenth_of_thirty_is_three() -> None:
    """No binary number is a tenth, and a fourth group would be one too many."""
    found = reliability_of(RISING, np.array([1.0, 2, 3, 0, *RISING[4:]]), EVEN, 30)
    assert shared(found)[0.1] == pytest.approx(2 / 3, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    scores=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30),
    costs=st.lists(st.integers(1, 9), min_size=30, max_size=30),
)
def test_agreement_is_mutual_and_within_bounds(
    scores: list[tuple[int, int]], costs: list[int]
) -> None:
    """Neither half is the better one."""
    first, second = np.array(scores, float).T
    cost = np.array(costs[: len(scores)])
    found = reliability_of(first, second, cost, int(cost.sum()))
    assert found == reliability_of(second, first, cost, int(cost.sum()))
    assert len(found.cuts) == 5


@pytest.mark.parametrize(
    ("correlation", "ratio", "doubts"),
    [
        (0.95, 0.1, []),
        (0.95, 0.24, []),
        (0.95, 0.26, ["their cuts of 40 % share 80 % of what each removes"]),
        (
            0.8,
            0.9,
            [
                "their ranks correlate by 0.80",
                "their cuts of 40 % share 80 % of what each removes",
            ],
        ),
    ],
    ids=["sure", "nearer to 10 %", "nearer to 40 %", "both"],
)
def test_the_nearest_cut_is_looked_at(correlation: float, ratio: float, doubts: list[str]) -> None:
    """Figures below 0.9 are told, others are not."""
    cuts = (SharedCut(ratio=0.1, shared=0.9), SharedCut(ratio=0.4, shared=0.8))
    found = Reliability(rank_correlation=correlation, cuts=cuts)
    assert list(found.doubts(ratio)) == doubts


def test_without_any_cut_ranks_alone_are_told() -> None:
    """Few layers may hold less than the smallest ratio."""
    found = Reliability(rank_correlation=0.5, cuts=())
    assert list(found.doubts(0.1)) == ["their ranks correlate by 0.50"]
    assert agreement(found) == "ranks correlate by 0.500"
