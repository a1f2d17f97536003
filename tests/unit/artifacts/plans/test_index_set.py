"""How a person writes sets of indices, and how they are spelled back."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.artifacts.plans.index_set import IndexSet

NOT_INDICES = r'is not a set of indices; write "4, 17-31" or all\.'


@pytest.mark.parametrize(
    ("written", "indices"),
    [
        ("4, 17-19, 1500", [4, 17, 18, 19, 1500]),
        ("19,17 - 18 , 4", [4, 17, 18, 19]),
        ("3-3", [3]),
        (7, [7]),
        ("", []),
        ("  ", []),
    ],
    ids=["as spelled", "any order and blanks", "range of one", "bare number", "empty", "blank"],
)
def test_what_a_person_writes_is_understood(written: Any, indices: list[int]) -> None:
    """Numbers and inclusive ranges, in any order, with or without blanks."""
    assert list(IndexSet.parse(written)) == indices


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("1, 0-3", r"index 1 is named twice; name each once\."),
        ("4, 4", r"index 4 is named twice"),
        ("0-5, 3-9", r"index 3 is named twice"),
        ("31-17", r"'31-17' runs backwards; write '17-31'\."),
        ("1,,2", r"'' is no index or range; write"),
        ("1, x", r"'x' is no index or range; write"),
        ("-1", r"'-1' is no index or range"),
        ("1 2", r"'1 2' is no index or range"),
        ("all, 3", r"'all' is no index or range"),
        (-1, f"^-1 {NOT_INDICES}"),
        (True, f"^True {NOT_INDICES}"),
        (1.5, rf"^1\.5 {NOT_INDICES}"),
        (None, f"^None {NOT_INDICES}"),
        ([1, 2], rf"^\[1, 2\] {NOT_INDICES}"),
    ],
    ids=repr,
)
def test_what_is_no_set_of_indices_is_refused(written: Any, message: str) -> None:
    """The message names the offending part, not the whole line, and how to write it."""
    with pytest.raises(ValueError, match=message):
        IndexSet.parse(written)


def test_all_that_is_wrong_with_a_set_is_said_at_once() -> None:
    """Nobody mends a value three times."""
    with pytest.raises(ValueError, match=r"write '3-5'\. 'x' is no index.* index 7 is named twice"):
        IndexSet.parse("5-3, 7, x, 7")


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 60)))
def test_one_set_has_one_spelling(indices: set[int]) -> None:
    """Spelling and reading give the set back; neighbours are joined: no text is shorter."""
    ranges = IndexSet.of(indices)
    assert list(ranges) == sorted(indices)
    assert IndexSet.parse(str(ranges)) == ranges
    assert len(ranges) == len(indices)
    assert all(later[0] > former[1] + 1 for former, later in _pairs(ranges))
    assert bool(ranges) == bool(indices)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(0, 40))
def test_set_operations_are_those_of_python_s_sets(
    one: set[int], other: set[int], split: int
) -> None:
    """Whatever overlaps, touches or contains the other."""
    first, second = IndexSet.of(one), IndexSet.of(other)
    assert first - second == IndexSet.of(one - other)
    assert first & second == IndexSet.of(one & other)
    assert first | second == IndexSet.of(one | other)
    assert first.complement(41) == IndexSet.of(set(range(41)) - one)
    assert first.within(0, split) == IndexSet.of(index for index in one if index < split)
    later = IndexSet.of(index - split for index in one if index >= split)
    assert first.within(split, 41) == later
    assert first.to_array().tolist() == sorted(one)


def test_neighbours_are_joined_however_they_were_written() -> None:
    """One decision has one spelling, so that digests and diffs compare decisions."""
    assert str(IndexSet.parse("2, 0, 1, 5-6, 7")) == "0-2, 5-7"


def test_all_is_every_group_of_whatever_sublayer_it_stands_in() -> None:
    """`all` knows no count of its own; a set of numbers doesn't ask for one."""
    everything = IndexSet.parse(" all ")
    assert str(everything) == "all"
    assert everything
    assert everything.resolved(3) == IndexSet.parse("0-2")
    assert everything.resolved(0) == everything.complement(3) == IndexSet()
    assert IndexSet.parse("1").resolved(3) == IndexSet.parse("1")


def _pairs(ranges: IndexSet) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Every range with the next."""
    return list(zip(ranges.ranges, ranges.ranges[1:], strict=False))
