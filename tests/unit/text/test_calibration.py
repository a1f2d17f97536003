"""Windows to measure with: whole, drawn by a seed, from all over the text."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_files import (
    BOS,
    PAD,
    VOCABULARY,
    TokenizerMaker,
    ids_of,
    joined_ids,
    numbered_documents,
    numbered_text,
    position_of,
    tokenizer_with_bos,
    tokenizer_with_leading_unknown,
    write_lines,
)
from tiny_models import tiny_tokenizer

from globalprune.artifacts.records import digest_bytes
from globalprune.text.calibration import calibration_text, calibration_windows
from globalprune.text.windows import TokenWindows, batches


def windows_of(
    source: Path,
    samples: int | None,
    seq_len: int | None,
    *,
    seed: int = 0,
    make: TokenizerMaker = tiny_tokenizer,
) -> TokenWindows:
    """The windows of a file."""
    return calibration_windows(
        str(source), make, vocab_size=VOCABULARY, samples=samples, seq_len=seq_len, seed=seed
    )


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Give a file of 2,000 tokens in which every place is known by its numbers."""
    path = tmp_path / "a.txt"
    path.write_text(numbered_text(400))
    return path


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Give a file of 200 documents of 25 tokens."""
    rows = [{"text": text} for text in numbered_documents(200)]
    return write_lines(tmp_path / "a.jsonl", rows)


@pytest.mark.parametrize("samples", [1, 7, 20])
def test_windows_are_whole_spans_of_the_text_without_overlap(many: Path, samples: int) -> None:
    """Across the borders of documents, each exactly as it stands there."""
    windows = windows_of(many, samples, 64)
    text = joined_ids(numbered_documents(200))
    places = [position_of(row, text) for row in windows.rows]
    assert len(places) == samples
    assert all(len(row) == 64 for row in windows.rows)
    assert all(b - a >= 64 for a, b in pairwise(places))


def test_no_loss_is_computed_on_padding(tmp_path: Path) -> None:
    """Documents shorter than a window are joined, not filled up: every token counted is text."""
    rows = [{"text": "short"}, {"text": "a little longer"}] * 20
    windows = windows_of(write_lines(tmp_path / "a.jsonl", rows), 4, 50)
    assert not any((row == PAD).any() for row in windows.rows)
    assert (windows.record.tokens, windows.record.predicted_tokens) == (200, 196)


def test_no_batch_repeats_the_texts_of_another(many: Path) -> None:
    """Every batch brings windows of its own, and not only those the text begins with."""
    windows = windows_of(many, 16, 64)
    texts = joined_ids(numbered_documents(200))
    seen = [{position_of(row, texts) for row in batch} for batch in batches(windows, 4)]
    assert [len(places) for places in seen] == [4, 4, 4, 4]
    assert len(set().union(*seen)) == 16
    assert max(seen[-1]) > 0.8 * len(texts)


def test_a_seed_decides_the_windows(manual: Path) -> None:
    """The same one gives the same windows and record, another one others."""
    one, again, other = (windows_of(manual, 4, 32, seed=seed) for seed in (7, 7, 8))
    assert one.record == again.record
    assert all(map(np.array_equal, one.rows, again.rows))
    assert one.record.digest != other.record.digest
    assert (one.record.seed, other.record.seed) == (7, 8)


@pytest.mark.parametrize(
    ("make", "leads"),
    [
        (tiny_tokenizer, False),
        (tokenizer_with_bos, True),
        (tokenizer_with_leading_unknown, False),
    ],
    ids=["no BOS", "BOS", "another token"],
)
def test_bos_follows_the_tokenizer(manual: Path, make: TokenizerMaker, leads: bool) -> None:
    """Every window starts as the tokenizer would start a text; the length stays the one asked."""
    windows = windows_of(manual, 5, 32, make=make)
    assert windows.record.bos is leads
    text = ids_of(numbered_text(400))
    for row in windows.rows:
        assert len(row) == 32
        assert (row == BOS).nonzero().flatten().tolist() == [0] * leads
        position_of(row[1:] if leads else row, text)


def test_the_digests_are_of_the_documents_that_windows_touch(many: Path) -> None:
    """Of these and no others, so that reuse in an evaluation shows."""
    windows = windows_of(many, 5, 40)
    texts = numbered_documents(200)
    ids = joined_ids(texts)
    owners = np.repeat(np.arange(200), 26)[:-1]  # 25 tokens and the EOS behind them
    places = [position_of(row, ids) for row in windows.rows]
    touched = sorted({int(owner) for place in places for owner in owners[place : place + 40]})
    expected = tuple(digest_bytes(texts[index].encode()) for index in touched)
    assert windows.record.document_digests == expected
    assert windows.record.documents == len(expected) < 200


def test_the_record_says_how_the_windows_were_made(manual: Path) -> None:
    """Enough to make them again."""
    record = windows_of(manual, 3, 20, seed=4).record
    assert (record.source, record.samples, record.seq_len) == (str(manual), 3, 20)
    assert (record.seed, record.stride, record.bos) == (4, None, False)


def test_numbers_left_out_are_128_windows_of_512_tokens() -> None:
    """The defaults of the contract, on the text that everyone has."""
    windows = calibration_windows("builtin", tiny_tokenizer, vocab_size=VOCABULARY)
    assert (windows.record.samples, windows.record.seq_len, windows.record.seed) == (128, 512, 0)


@pytest.mark.parametrize(("samples", "count"), [(20, 8), (1, 4)])
def test_unused_windows_share_no_token_with_those_to_measure_with(
    many: Path, samples: int, count: int
) -> None:
    """They are spans of the gaps between them, drawn by the seed; the others stay as they are."""
    text = calibration_text(
        str(many),
        tiny_tokenizer,
        vocab_size=VOCABULARY,
        samples=samples,
        seq_len=64,
        max_unused=count,
    )
    row = joined_ids(numbered_documents(200))
    taken = [position_of(window, row) for window in text.windows.rows]
    unused = [position_of(window, row) for window in text.unused.rows] if text.unused else []

    assert text.windows.record == windows_of(many, samples, 64).record
    assert len(unused) == count
    places = sorted([*taken, *unused])
    assert all(b - a >= 64 for a, b in pairwise(places))


def test_text_that_is_used_up_leaves_no_unused_windows(many: Path, tmp_path: Path) -> None:
    """A text as long as its windows, and rows of ids that are all measured with, or the last."""
    rows = [{"input_ids": [1, 2, 3]}] * 3 + [{"input_ids": [1, "?"]}]
    ids = write_lines(tmp_path / "ids.jsonl", rows)
    how: Any = {"vocab_size": VOCABULARY, "max_unused": 4}
    tight = calibration_text(str(many), tiny_tokenizer, samples=78, seq_len=64, **how)
    some = calibration_text(str(ids), tiny_tokenizer, samples=1, **how)
    broken = calibration_text(str(ids), tiny_tokenizer, samples=3, **how)

    assert tight.unused is None or len(tight.unused.rows) <= 3
    assert some.unused is None  # one of the rows behind is no window
    assert broken.unused is None
