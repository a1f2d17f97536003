"""Windows to measure a model with: equal lengths, seeded positions, no overlap, no padding."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.conversations import read_texts
from globalprune.text.readers import TextUse, open_rows
from globalprune.text.rows import Column, Ids, TextRows
from globalprune.text.source import HubText, TextSource, parse_source
from globalprune.text.tokenization import TokenSequence, tokenise
from globalprune.text.windows import TokenWindows, WindowCutter, check_counts, id_windows

DEFAULT_SOURCE: Final = "HuggingFaceFW/fineweb-edu:sample-10BT:train"
SAMPLES: Final = 128
SEQ_LEN: Final = 512
# How many times the tokens of the windows are read, so that windows come from all over the text. A
# stream is shuffled already, and each of its documents costs network.
OVERSAMPLING: Final = 64
STREAM_OVERSAMPLING: Final = 8


@dataclass(frozen=True)
class WindowRequest:
    """What is cut from every source of a command; None takes the default."""

    load_tokenizer: Callable[[], PreTrainedTokenizerBase]
    vocab_size: int
    samples: int | None
    seq_len: int | None
    seed: int
    progress: Progress


@dataclass(frozen=True)
class CalibrationText:
    """Windows to measure with, and unused ones of the same text that share no token with them."""

    windows: TokenWindows
    unused: TokenWindows | None  # None: nothing of the text is left


def calibration_windows(
    source: str | None,
    load_tokenizer: Callable[[], PreTrainedTokenizerBase],
    *,
    vocab_size: int,
    samples: int | None = None,
    seq_len: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> TokenWindows:
    """Cut `samples` windows of `seq_len` tokens at positions that `seed` draws.

    Rows of `input_ids` are windows already: the first `samples` of them are taken, or all, and no
    tokenizer is loaded. Raise `TextError`, with the largest possible number of windows, where text
    is short.
    """
    text = calibration_text(
        source,
        load_tokenizer,
        vocab_size=vocab_size,
        samples=samples,
        seq_len=seq_len,
        seed=seed,
        max_unused=0,
        progress=progress,
    )
    return text.windows


def calibration_text(
    source: str | None,
    load_tokenizer: Callable[[], PreTrainedTokenizerBase],
    *,
    vocab_size: int,
    samples: int | None = None,
    seq_len: int | None = None,
    seed: int = 0,
    max_unused: int,
    progress: Progress = silent,
) -> CalibrationText:
    """Cut the windows of `calibration_windows`, and up to `max_unused` from what they leave.

    The unused ones lie between the windows of a text, or behind rows that are windows already.
    """
    check_counts(samples=samples, seq_len=seq_len, seed=seed)
    request = WindowRequest(load_tokenizer, vocab_size, samples, seq_len, seed, progress)
    origin = parse_source(source or DEFAULT_SOURCE)
    rows = open_rows(origin, TextUse.CALIBRATION, shuffle_seed=seed)
    if rows.column is Column.INPUT_IDS:
        windows = _take_rows(rows, origin, request, samples)
        return CalibrationText(windows, _unused_rows(rows, origin, request, max_unused))
    text, cutter = _tokenise(origin, rows, request)
    windows = _cut(text, cutter, origin, request)
    positions = draw_positions_between(
        draw_positions(len(text.ids), cutter.text_length, windows.record.samples, seed),
        cutter.text_length,
        len(text.ids),
        count=max_unused,
        seed=seed,
    )
    if not len(positions):
        return CalibrationText(windows, None)
    return CalibrationText(windows, cutter.windows(text, positions, name=origin.name, seed=seed))


def text_windows(source: TextSource, rows: TextRows, request: WindowRequest) -> TokenWindows:
    """Cut windows of opened rows of text, or of conversations, of which every token counts."""
    text, cutter = _tokenise(source, rows, request)
    return _cut(text, cutter, source, request)


def oversampling_of(source: TextSource) -> int:
    """Return how many times the tokens of the windows are read from a source."""
    return STREAM_OVERSAMPLING if isinstance(source, HubText) else OVERSAMPLING


def draw_positions(tokens: int, length: int, samples: int, seed: int) -> Ids:
    """Draw the starts of `samples` spans of `length` in a row of `tokens`, ascending, disjoint.

    The tokens that no span needs become gaps: a start is a sorted random offset into that slack
    plus the spans before it.
    """
    slack = tokens - samples * length
    offsets = np.random.default_rng(seed).integers(0, slack + 1, size=samples)
    return np.sort(offsets) + length * np.arange(samples)


def draw_positions_between(taken: Ids, length: int, tokens: int, *, count: int, seed: int) -> Ids:
    """Draw the starts of up to `count` spans that overlap none of those at `taken`.

    Every gap between two of these is divided into whole spans from its beginning.
    """
    begins = np.concatenate([[0], taken + length])
    fit = (np.concatenate([taken, [tokens]]) - begins) // length
    starts = np.concatenate(
        [begin + length * np.arange(n) for begin, n in zip(begins, fit, strict=True)]
    )
    drawn = np.random.default_rng([seed, 1]).permutation(starts)[:count]
    return np.sort(drawn).astype(np.int64)


def _take_rows(
    rows: TextRows, source: TextSource, request: WindowRequest, samples: int | None
) -> TokenWindows:
    """Take the next rows of ids as windows."""
    return id_windows(
        rows,
        name=source.name,
        vocab_size=request.vocab_size,
        samples=samples,
        seq_len=request.seq_len,
    )


def _unused_rows(
    rows: TextRows, source: TextSource, request: WindowRequest, count: int
) -> TokenWindows | None:
    """Take the rows that come next, or None if they are no windows: they are only an extra."""
    following = TextRows(rows.column, islice(rows.values, count))
    try:
        return _take_rows(following, source, request, None)
    except TextError:
        return None


def _tokenise(
    source: TextSource, rows: TextRows, request: WindowRequest
) -> tuple[TokenSequence, WindowCutter]:
    """Tokenise as much text as the windows are drawn from."""
    tokenizer = request.load_tokenizer()
    cutter = WindowCutter.of(tokenizer, request.seq_len or SEQ_LEN, rows.column)
    needed = (request.samples or SAMPLES) * cutter.text_length
    text = tokenise(
        read_texts(rows, tokenizer, source.name),
        tokenizer,
        name=source.name,
        vocab_size=request.vocab_size,
        min_tokens=oversampling_of(source) * needed,
        progress=request.progress,
        joined_by_eos=rows.column is Column.TEXT,
    )
    return text, cutter


def _cut(
    text: TokenSequence, cutter: WindowCutter, source: TextSource, request: WindowRequest
) -> TokenWindows:
    """Cut windows at seeded positions; raise `TextError` if the text is too short."""
    samples = request.samples or SAMPLES
    tokens = len(text.ids)
    largest = tokens // cutter.text_length
    if largest < samples:
        raise TextError(
            f"{source.name}: its {tokens:,} tokens give at most {largest} windows of "
            f"{cutter.seq_len} tokens, not {samples}; say --samples {largest}, a smaller "
            "--seq-len, or more text."
            if largest
            else f"{source.name}: its {tokens:,} tokens don't fill one window of {cutter.seq_len} "
            f"tokens (0 of the {samples} asked); say a smaller --seq-len or give more text."
        )
    positions = draw_positions(tokens, cutter.text_length, samples, request.seed)
    return cutter.windows(text, positions, name=source.name, seed=request.seed)
