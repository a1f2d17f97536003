"""Numbers that can't be meant, and what a window is made of."""

import numpy as np
import pytest
from texts import BOS, ids_of, tokenizer_with_bos

from globalprune.errors import UsageError
from globalprune.text.cutting import WindowShape, check_counts


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"samples": 0, "seq_len": None}, "--samples 0: must be at least 1"),
        ({"samples": -3, "seq_len": 8}, "--samples -3: must be at least 1"),
        ({"samples": 1, "seq_len": 1}, "--seq-len 1: must be at least 2"),
        ({"samples": 1, "seq_len": 2, "stride": 0}, "--stride 0: must be at least 1"),
    ],
    ids=["no samples", "fewer than none", "nothing to predict", "standing still"],
)
def test_impossible_numbers_are_refused(counts: dict[str, int], message: str) -> None:
    """The message names the option and its least value."""
    with pytest.raises(UsageError, match=message):
        check_counts(**counts)


def test_the_least_numbers_are_taken() -> None:
    """One window of two tokens predicts one; a number left out is no number."""
    check_counts(samples=1, seq_len=2, stride=1)
    check_counts(samples=None, seq_len=None, stride=None)


def test_a_bos_takes_a_place_of_the_window_and_of_no_text() -> None:
    """Windows keep their length; the text in them is one token shorter."""
    ids = ids_of("abcdefgh")
    shape = WindowShape.of(tokenizer_with_bos(), 4)
    windows = shape.cut(ids, np.array([0, 5]))
    assert shape.body == 3
    assert [list(window) for window in windows] == [[BOS, *ids[:3]], [BOS, *ids[5:]]]
