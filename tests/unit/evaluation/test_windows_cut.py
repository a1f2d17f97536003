"""Windows to judge by: from the start of the text, the same for every model and run."""

from pathlib import Path

import numpy as np
import pytest
from text_files import (
    BOS,
    VOCABULARY,
    TokenizerMaker,
    failing_tokenizer,
    ids_of,
    joined_ids,
    numbered_documents,
    numbered_text,
    tokenizer_with_bos,
    write_lines,
)
from tiny_models import tiny_tokenizer

from globalprune.artifacts.records import digest_bytes
from globalprune.errors import TextError, UsageError
from globalprune.evaluation.windows import evaluation_windows
from globalprune.text.windows import TokenWindows

TEXT = ids_of(numbered_text(30))  # 150 tokens


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Give a file of 150 tokens in which every place is known by its numbers."""
    path = tmp_path / "a.txt"
    path.write_text(numbered_text(30))
    return path


def windows_of(
    source: Path,
    seq_len: int,
    *,
    samples: int | None = None,
    stride: int | None = None,
    make: TokenizerMaker = tiny_tokenizer,
) -> TokenWindows:
    """The windows of a file."""
    return evaluation_windows(
        str(source),
        make,
        vocab_size=VOCABULARY,
        samples=samples,
        seq_len=seq_len,
        stride=stride,
    )


@pytest.mark.parametrize(
    ("seq_len", "stride", "samples", "starts"),
    [
        (40, None, None, [0, 40, 80]),
        (50, None, None, [0, 50, 100]),
        (40, 55, None, [0, 55, 110]),
        (40, 56, None, [0, 56]),
        (40, 40, None, [0, 40, 80]),
        (40, None, 2, [0, 40]),
        (40, 55, 2, [0, 55]),
        (150, None, None, [0]),
    ],
    ids=["tail dropped", "no tail", "gaps", "last cut", "side by side", "first", "both", "one"],
)
def test_windows_start_every_stride_tokens_from_the_beginning(
    manual: Path, seq_len: int, stride: int | None, samples: int | None, starts: list[int]
) -> None:
    """All whole ones, or the first of them; a window that would not be whole is dropped."""
    windows = windows_of(manual, seq_len, stride=stride, samples=samples)
    expected = [TEXT[start : start + seq_len].tolist() for start in starts]
    assert [row.tolist() for row in windows.rows] == expected
    assert windows.record.predicted_tokens == len(starts) * (seq_len - 1)
    assert windows.record.stride == (stride or seq_len)
    assert windows.record.seed is None


@pytest.mark.parametrize("stride", [None, 29, 40], ids=["default", "body", "gaps"])
def test_a_bos_leaves_no_gap_in_the_text(manual: Path, stride: int | None) -> None:
    """It leads every window and is no text, so windows of 30 ids lie 29 tokens apart."""
    windows = windows_of(manual, 30, stride=stride, make=tokenizer_with_bos)
    step = stride or 29
    starts = range(0, 150 - 29 + 1, step)
    expected = [[BOS, *TEXT[start : start + 29].tolist()] for start in starts]
    assert [row.tolist() for row in windows.rows] == expected
    assert (windows.record.bos, windows.record.stride) == (True, step)


@pytest.mark.parametrize("make", [tiny_tokenizer, tokenizer_with_bos], ids=["no BOS", "BOS"])
def test_windows_that_would_overlap_are_refused(manual: Path, make: TokenizerMaker) -> None:
    """Else some tokens would count twice; the stride that the message names works."""
    with pytest.raises(
        UsageError, match=r"--stride 28: windows of 30 tokens would overlap .*; say 30 or more"
    ):
        windows_of(manual, 30, stride=28, make=make)
    assert windows_of(manual, 30, stride=30, make=make).rows


def test_windows_cross_documents_and_name_them(tmp_path: Path) -> None:
    """Only the documents that windows touch are in the record."""
    texts = numbered_documents(4, words=2)  # 10 tokens each, 43 with the EOS between
    path = write_lines(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    windows = windows_of(path, 15, samples=2)
    assert np.array_equal(np.concatenate(windows.rows), joined_ids(texts)[:30])
    expected = tuple(digest_bytes(text.encode()) for text in texts[:3])
    assert windows.record.document_digests == expected
    assert windows.record.documents == 3


def test_every_run_judges_by_the_same_windows(manual: Path) -> None:
    """Nothing is drawn."""
    assert windows_of(manual, 40).record == windows_of(manual, 40).record


def test_the_default_is_all_of_the_held_out_builtin_text() -> None:
    """In windows of 512 tokens, one behind the other."""
    default = evaluation_windows(None, tiny_tokenizer, vocab_size=VOCABULARY)
    named = evaluation_windows(
        "builtin", tiny_tokenizer, vocab_size=VOCABULARY, seq_len=512, stride=512
    )
    assert default.record == named.record
    assert default.record.source == "builtin"


@pytest.mark.parametrize("stride", [None, 45], ids=["side by side", "gaps"])
def test_too_little_text_names_the_largest_number_of_windows(
    manual: Path, stride: int | None
) -> None:
    """And that number works."""
    with pytest.raises(
        TextError,
        match=rf"150 tokens give 3 windows of 40 tokens at stride {stride or 40}, not 4; say "
        "--samples 3, a smaller --seq-len or --stride, or give more text",
    ):
        windows_of(manual, 40, samples=4, stride=stride)
    assert len(windows_of(manual, 40, samples=3, stride=stride).rows) == 3


def test_text_shorter_than_a_window_is_refused(manual: Path) -> None:
    """Whether or not a number was said, and no number is proposed."""
    with pytest.raises(
        TextError, match=r"150 tokens give 0 windows of 151 tokens .*, not 1; a smaller --seq-len"
    ):
        windows_of(manual, 151)


def test_no_more_text_is_read_than_the_windows_need(tmp_path: Path) -> None:
    """What lies far behind the last window may be broken."""
    row = {"text": "x" * 2**16}
    path = write_lines(tmp_path / "a.jsonl", [row, row, {"text": None}])
    assert len(windows_of(path, 2**16, samples=2).rows) == 2
    with pytest.raises(TextError, match="line 3: `text` is null"):
        windows_of(path, 2**16, samples=3)


def test_rows_of_ids_have_no_stride(tmp_path: Path) -> None:
    """They are windows already; the option would do nothing."""
    path = write_lines(tmp_path / "a.jsonl", [{"input_ids": [1, 2, 3]}])
    with pytest.raises(UsageError, match=r"rows of `input_ids` have no --stride; leave it out"):
        windows_of(path, 3, stride=3, make=failing_tokenizer)


def test_impossible_numbers_are_refused_before_anything_is_read() -> None:
    """Neither the source nor the tokenizer is touched."""
    with pytest.raises(UsageError, match="--stride 0: must be at least 1"):
        windows_of(Path("/nowhere/at/all.txt"), 8, stride=0, make=failing_tokenizer)
