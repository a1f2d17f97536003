"""How many windows a text gives to measure with, and where they may lie."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import (
    VOCABULARY,
    TokenizerMaker,
    failing_tokenizer,
    numbered_text,
    tokenizer_with_bos,
)
from tiny_models import tiny_tokenizer

from globalprune.errors import TextError, UsageError
from globalprune.text.calibration import calibration_windows, draw_positions
from globalprune.text.windows import TokenWindows


def windows_of(
    source: Path, samples: int, seq_len: int, *, make: TokenizerMaker = tiny_tokenizer
) -> TokenWindows:
    """The windows of a file."""
    return calibration_windows(
        str(source), make, vocab_size=VOCABULARY, samples=samples, seq_len=seq_len
    )


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Give a file of 2,000 tokens."""
    path = tmp_path / "a.txt"
    path.write_text(numbered_text(400))
    return path


@settings(deadline=None, max_examples=200)
@given(
    length=st.integers(1, 50),
    samples=st.integers(1, 50),
    slack=st.integers(0, 500),
    seed=st.integers(0, 2**32),
)
def test_positions_never_overlap_nor_leave_the_text(
    length: int, samples: int, slack: int, seed: int
) -> None:
    """However little room there is between them."""
    tokens = samples * length + slack
    positions = draw_positions(tokens, length, samples, seed)
    assert len(positions) == samples
    assert positions[0] >= 0
    assert positions[-1] + length <= tokens
    assert all(b - a >= length for a, b in pairwise(positions))
    assert np.array_equal(positions, draw_positions(tokens, length, samples, seed))


def test_every_place_can_be_drawn() -> None:
    """The very first and the very last token of the text too."""
    drawn = {int(draw_positions(6, 4, 1, seed)[0]) for seed in range(50)}
    assert drawn == {0, 1, 2}


@pytest.mark.parametrize(
    ("make", "largest"), [(tiny_tokenizer, 19), (tokenizer_with_bos, 20)], ids=["no BOS", "BOS"]
)
def test_too_little_text_names_the_largest_number_of_windows(
    manual: Path, make: TokenizerMaker, largest: int
) -> None:
    """And that number works; a BOS takes no text, so more windows fit."""
    with pytest.raises(
        TextError,
        match=rf"2,000 tokens give at most {largest} windows of 101 tokens, not {largest + 1}; say "
        rf"--samples {largest}, a smaller --seq-len, or more text",
    ):
        windows_of(manual, largest + 1, 101, make=make)
    assert len(windows_of(manual, largest, 101, make=make).rows) == largest


def test_text_shorter_than_a_window_says_so(manual: Path) -> None:
    """No number of windows would help."""
    with pytest.raises(
        TextError, match=r"2,000 tokens don't fill one window of 2001 tokens \(0 of the 3 asked\)"
    ):
        windows_of(manual, 3, 2_001)
    assert len(windows_of(manual, 1, 2_000).rows[0]) == 2_000


def test_impossible_numbers_are_refused_before_anything_is_read() -> None:
    """Neither the source nor the tokenizer is touched."""
    with pytest.raises(UsageError, match="--seq-len 1: must be at least 2"):
        windows_of(Path("/nowhere/at/all.txt"), 1, 1, make=failing_tokenizer)
    with pytest.raises(UsageError, match="--samples 0: must be at least 1"):
        windows_of(Path("/nowhere/at/all.txt"), 0, 8, make=failing_tokenizer)
