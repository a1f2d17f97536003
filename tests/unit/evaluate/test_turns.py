"""Whose turn it is."""

from globalprune.evaluate.turns import turns_of


def test_every_round_has_all_and_another_first() -> None:
    """So that what comes after a pause, or last, is someone else each time."""
    assert [turns_of(number, 3) for number in range(4)] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [0, 1, 2],
    ]
