"""Windows to train on: full, seeded, divided by weights, joined as for calibration."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import (
    EOS,
    VOCABULARY,
    failing_tokenizer,
    joined_ids,
    numbered_documents,
    numbered_text,
    position_of,
    write_lines,
)
from tiny_finetunings import chatty, training_windows, write_chats
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError, UsageError
from globalprune.text.rows import Column
from globalprune.text.training import divide_samples, training_texts


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Give a file of 200 documents of 25 tokens."""
    return write_lines(tmp_path / "a.jsonl", [{"text": text} for text in numbered_documents(200)])


def test_windows_of_text_are_full_spans_and_all_of_them_is_learned(many: Path) -> None:
    """Documents are joined by EOS as for calibration; no token is padding."""
    (text,) = training_windows(many, samples=20)
    ids = joined_ids(numbered_documents(200))
    places = [position_of(row, ids) for row in text.rows]
    assert [len(row) for row in text.rows] == [32] * 20
    assert all(b - a >= 32 for a, b in pairwise(places))
    assert any((row == EOS).any() for row in text.rows)
    assert all(map(torch.equal, text.rows, text.labels))
    assert text.kind is Column.TEXT


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_a_seed_decides_the_windows(many: Path, tmp_path: Path, kind: str) -> None:
    """The same one gives the same, another one others."""
    source = many if kind == "text" else write_chats(tmp_path, 300)
    one, again, other = (training_windows(source, make=chatty, seed=seed)[0] for seed in (3, 3, 4))
    assert one.record == again.record
    assert all(map(torch.equal, (*one.rows, *one.labels), (*again.rows, *again.labels)))
    assert one.record.digest != other.record.digest
    assert (one.record.seed, other.record.seed) == (3, 4)


def test_sources_give_windows_by_their_weights(many: Path, tmp_path: Path) -> None:
    """Each in its own record; what is plain and what is a conversation may be mixed."""
    chats = write_chats(tmp_path)
    text, chat = training_windows(f"{many}@0.7", f"{chats}@0.3", samples=10, make=chatty)
    assert (len(text.rows), len(chat.rows)) == (7, 3)
    assert (text.record.source, chat.record.source) == (str(many), str(chats))
    assert (text.kind, chat.kind) == (Column.TEXT, Column.MESSAGES)


def test_a_source_that_would_give_nothing_is_refused(many: Path) -> None:
    """Nobody names text that isn't to be read."""
    with pytest.raises(TextError, match=r"8 windows over 2 sources leave some without any; say"):
        training_windows(f"{many}@100", f"{many}@1")


def test_too_little_text_says_how_many_windows_it_gives(tmp_path: Path) -> None:
    """As calibration does."""
    path = tmp_path / "a.txt"
    path.write_text(numbered_text(20))
    with pytest.raises(TextError, match=r"its 100 tokens give at most 3 windows of 32 tokens, not"):
        training_windows(path)


def test_rows_of_ids_stand_as_they_are(tmp_path: Path) -> None:
    """Of whatever lengths, the first ones in order; neither --seq-len nor a tokenizer matters."""
    rows = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [1, 1]]
    path = write_lines(tmp_path / "a.jsonl", [{"input_ids": row} for row in rows])
    (text,) = training_windows(path, samples=3, seq_len=512, make=failing_tokenizer)
    assert [row.tolist() for row in text.rows] == rows[:3]
    assert [labels.tolist() for labels in text.labels] == rows[:3]


def test_numbers_that_cannot_be_meant_are_refused(many: Path) -> None:
    """Before any text is read."""
    with pytest.raises(UsageError, match=r"--samples 0: must be at least 1"):
        training_windows(many, samples=0)
    with pytest.raises(UsageError, match=r"--seq-len 1: must be at least 2"):
        training_windows(many, seq_len=1)


def test_numbers_left_out_are_500_windows_of_512_tokens() -> None:
    """The founding defaults."""
    (text,) = training_texts(["builtin"], tiny_tokenizer, vocab_size=VOCABULARY)
    assert (text.record.samples, text.record.seq_len) == (500, 512)


weights = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(weights=weights, samples=st.integers(1, 5000))
def test_windows_are_divided_to_the_last_one_and_follow_the_weights(
    weights: list[float], samples: int
) -> None:
    """No source is a whole window away from its exact share, and a heavier one has no fewer."""
    counts = divide_samples(weights, samples)
    assert sum(counts) == samples
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - samples * weight / sum(weights)) < 1 + 1e-6
    by_weight = sorted(zip(weights, counts, strict=True))
    for (light, fewer), (heavy, more) in pairwise(by_weight):
        assert fewer <= more or light == pytest.approx(heavy, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "counts"),
    [([0.7, 0.3], [350, 150]), ([7, 3], [350, 150]), ([1, 1, 1], [167, 167, 166])],
    ids=["parts", "proportions", "a remainder"],
)
def test_only_the_proportions_of_weights_matter(weights: list[float], counts: list[int]) -> None:
    """They need not sum to 1; the earlier source gets the window that is left over."""
    assert divide_samples(weights, 500) == counts
