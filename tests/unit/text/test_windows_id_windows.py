"""Windows that are given as ids: taken as they stand, or refused."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from text_files import TABLE_KINDS, VOCABULARY, failing_tokenizer, write_column, write_lines

from globalprune.errors import TextError
from globalprune.evaluation.windows import evaluation_windows
from globalprune.text.calibration import calibration_windows
from globalprune.text.windows import TokenWindows

SQUARE = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 259, 0]]
RAGGED = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]


def windows_of(
    source: Path, samples: int | None = None, seq_len: int | None = None
) -> TokenWindows:
    """The windows of a file, to calibrate with."""
    return calibration_windows(
        str(source), failing_tokenizer, vocab_size=VOCABULARY, samples=samples, seq_len=seq_len
    )


def ids_in(windows: TokenWindows) -> list[list[int]]:
    """The windows as lists."""
    return [row.tolist() for row in windows.rows]


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """Give a file of four windows of three ids."""
    return write_column(tmp_path, "jsonl", "input_ids", SQUARE)


@pytest.mark.parametrize("kind", TABLE_KINDS)
@pytest.mark.parametrize("rows", [SQUARE, RAGGED], ids=["square", "ragged"])
def test_every_row_is_a_window_and_no_tokenizer_is_loaded(
    tmp_path: Path, kind: str, rows: list[list[int]]
) -> None:
    """In order, unshuffled and unpadded, from every kind of file, for both uses."""
    path = write_column(tmp_path, kind, "input_ids", rows)
    evaluated = evaluation_windows(str(path), failing_tokenizer, vocab_size=VOCABULARY)
    assert ids_in(windows_of(path)) == ids_in(evaluated) == rows
    assert windows_of(path).record == evaluated.record


def test_ragged_rows_count_what_each_predicts(tmp_path: Path) -> None:
    """The record has no one length, and every row of n tokens predicts n - 1."""
    record = windows_of(write_column(tmp_path, "jsonl", "input_ids", RAGGED)).record
    assert (record.samples, record.tokens, record.predicted_tokens) == (3, 9, 6)
    assert record.seq_len is None


def test_the_record_says_that_nothing_was_drawn(square: Path) -> None:
    """No seed, no stride and no BOS of ours; each row is a document with its digest."""
    record = windows_of(square).record
    assert (record.seq_len, record.seed, record.stride, record.bos) == (3, None, None, False)
    assert record.documents == len(set(record.document_digests)) == 4


def test_the_first_rows_are_taken_and_no_other_is_looked_at(tmp_path: Path) -> None:
    """Behind them the file may be broken."""
    path = write_lines(tmp_path / "a.jsonl", [{"input_ids": row} for row in SQUARE] + [["bad"]])
    assert ids_in(windows_of(path, samples=2)) == SQUARE[:2]


def test_too_few_rows_are_refused_with_the_largest_number(square: Path) -> None:
    """And the number that the message names works."""
    with pytest.raises(
        TextError, match=r"has 4 rows of `input_ids`, but --samples asks for 5; say --samples 4"
    ):
        windows_of(square, samples=5)
    assert len(windows_of(square, samples=4).rows) == 4


def test_a_length_must_be_the_rows_own(square: Path) -> None:
    """Rows are neither cut nor filled up."""
    with pytest.raises(
        TextError, match=r"are up to 3 tokens long, and --seq-len says 2; .*leave --seq-len out"
    ):
        windows_of(square, seq_len=2)
    assert ids_in(windows_of(square, seq_len=3)) == SQUARE


NO_LIST = "`input_ids` is not a list of integers; mend or drop that row"
BAD_ROWS: dict[str, tuple[object, str]] = {
    "null": (None, NO_LIST),
    "a string": ("1 2 3", NO_LIST),
    "a number": (3, NO_LIST),
    "fractions": ([1.0, 2.0], NO_LIST),
    "booleans": ([True, False], NO_LIST),
    "nested": ([[1, 2], [3, 4]], NO_LIST),
    "a hole": ([1, None, 3], NO_LIST),
    "no token": ([], "has 0 tokens; a window needs 2 to predict one"),
    "one token": ([7], "has 1 token; a window needs 2 to predict one"),
    "beyond the vocabulary": ([1, 260], "id 260 is outside the model's vocabulary (0 to 259)"),
    "beyond any integer": ([1, 10**30], f"id {10**30} is outside the model's vocabulary"),
    "an ignored label": ([-100, 5], "id -100 is outside the model's vocabulary (0 to 259)"),
}


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: object, message: str) -> None:
    """Good rows before it are no excuse."""
    rows: Sequence[object] = [[1, 2, 3], row]
    path = write_lines(tmp_path / "a.jsonl", [{"input_ids": one} for one in rows])
    with pytest.raises(TextError, match=rf"a\.jsonl, line 2: {re.escape(message)}"):
        windows_of(path)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    """No windows are no text."""
    import pyarrow as pa
    import pyarrow.parquet

    empty = pa.table({"input_ids": pa.array([], pa.list_(pa.int32()))})
    pyarrow.parquet.write_table(empty, tmp_path / "a.parquet")
    with pytest.raises(TextError, match=r"a\.parquet: has no rows of `input_ids`"):
        windows_of(tmp_path / "a.parquet")
