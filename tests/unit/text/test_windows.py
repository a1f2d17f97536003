"""Windows keep their lengths, count what they predict, and are known by a digest."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import BOS, ids_of, tokenizer_with_bos

from globalprune.errors import UsageError
from globalprune.text.rows import Ids
from globalprune.text.tokenization import TokenSequence
from globalprune.text.windows import (
    TokenWindows,
    WindowCutter,
    batches,
    check_counts,
    make_windows,
    row_digest,
)

LENGTHS = st.lists(st.integers(2, 5), min_size=1, max_size=12)


def windows_of(rows: list[list[int]]) -> TokenWindows:
    """Windows of these ids; the facts of their text don't matter here."""
    return make_windows(
        [np.array(row, dtype=np.int64) for row in rows],
        source="here",
        document_digests=(),
        seq_len=None,
    )


@settings(deadline=None, max_examples=50)
@given(lengths=LENGTHS, batch_size=st.integers(1, 4))
def test_batches_hold_every_window_once_and_nothing_else(
    lengths: list[int], batch_size: int
) -> None:
    """In order and unpadded: a loss over a batch is a loss over text only."""
    windows = windows_of([list(range(number, number + n)) for number, n in enumerate(lengths)])
    found = list(batches(windows, batch_size))
    assert [row.tolist() for batch in found for row in batch] == [
        row.tolist() for row in windows.rows
    ]
    assert all(1 <= len(batch) <= batch_size for batch in found)


@settings(deadline=None, max_examples=50)
@given(lengths=LENGTHS, batch_size=st.integers(1, 4))
def test_a_batch_ends_only_when_full_or_where_the_length_changes(
    lengths: list[int], batch_size: int
) -> None:
    """No forward pass is spent on a batch that could have been larger."""
    found = list(batches(windows_of([[0] * n for n in lengths]), batch_size))
    for one, other in pairwise(found):
        assert len(one) == batch_size or one.shape[1] != other.shape[1]


def test_ragged_windows_count_what_each_predicts() -> None:
    """A window of n tokens predicts n - 1 of them, whatever its neighbours' lengths."""
    record = windows_of([[1, 2], [3, 4, 5, 6, 7], [8, 9, 10]]).record
    assert (record.samples, record.tokens, record.predicted_tokens) == (3, 10, 7)


def test_windows_are_torch_rows_of_int64() -> None:
    """As an embedding takes them."""
    (row,) = windows_of([[1, 2, 3]]).rows
    assert row.dtype == torch.int64
    assert row.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "others",
    [[[1, 2, 3, 4]], [[1, 2, 3], [4]], [[3, 4], [1, 2]], [[1, 2], [3, 5]], [[1, 2]]],
    ids=["uncut", "cut elsewhere", "other order", "other id", "one fewer"],
)
def test_the_digest_tells_any_other_windows(others: list[list[int]]) -> None:
    """The ids, their order and where they are cut all count."""
    digest = windows_of([[1, 2], [3, 4]]).record.digest
    assert digest == windows_of([[1, 2], [3, 4]]).record.digest
    assert digest != windows_of(others).record.digest


def test_a_row_digest_is_of_the_ids_and_not_of_their_memory() -> None:
    """A strided or byte-swapped array of the same ids is the same row."""
    spread: Ids = np.array([5, 0, 6, 0, 7], dtype=np.int64)[::2]
    assert row_digest(spread) == row_digest(np.array([5, 6, 7], dtype=np.int64))
    assert row_digest(spread) == row_digest(np.array([5, 6, 7], dtype=">i8"))


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
    cutter = WindowCutter.of(tokenizer_with_bos(), 4)
    text = TokenSequence(ids, np.array([0]), ("digest",))
    windows = cutter.windows(text, np.array([0, 5]), name="here")
    assert cutter.text_length == 3
    assert [row.tolist() for row in windows.rows] == [[BOS, *ids[:3]], [BOS, *ids[5:]]]
    assert windows.record.bos
