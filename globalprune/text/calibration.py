"""Windows to measure a model with: equal lengths, seeded positions, no overlap, no padding."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.conversations import read_texts
from globalprune.text.readers import Column, TextRows, TextUse
from globalprune.text.source import HubText, TextSource, parse_source
from globalprune.text.tokenization import Ids, TokenSequence, open_rows, tokenise
from globalprune.text.windows import (
    TokenWindows,
    WindowCutter,
    check_counts,
    id_windows,
    make_windows,
)

DEFAULT_SOURCE: Final = "HuggingFaceFW/fineweb-edu:sample-10BT:train"
SAMPLES: Final = 128
SEQ_LEN: Final = 512
# How many times the text needed is read, so that windows come from all over it; a stream is
# shuffled already, and every document of it costs network.
OVERSAMPLING: Final = 64
STREAM_OVERSAMPLING: Final = 8


@dataclass(frozen=True)
class CalibrationText:
    """Windows to measure with, and others of the same text that share no token with them."""

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

    Rows of `input_ids` are windows already: the first `samples` of them, or all, and no tokenizer
    is loaded. Raises `TextError`, which names the largest number of windows where text is short.
    """
    text = calibration_text(
        source,
        load_tokenizer,
        vocab_size=vocab_size,
        samples=samples,
        seq_len=seq_len,
        seed=seed,
        spare=0,
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
    spare: int,
    progress: Progress = silent,
) -> CalibrationText:
    """The windows of `calibration_windows`, and up to `spare` others that share no token with them.

    Those lie between the windows of a text, and behind the rows that are windows already.
    """
    check_counts(samples=samples, seq_len=seq_len, seed=seed)
    place = parse_source(source or DEFAULT_SOURCE)
    rows = open_rows(place, TextUse.CALIBRATION, shuffle_seed=seed)
    if rows.column is Column.INPUT_IDS:
        facts: dict[str, Any] = {"name": place.name, "vocab_size": vocab_size, "seq_len": seq_len}
        windows = id_windows(rows, samples=samples, **facts)
        return CalibrationText(windows, _rows_behind(rows, spare, **facts))
    text, shape = _read(
        place,
        rows,
        load_tokenizer(),
        vocab_size=vocab_size,
        samples=samples,
        seq_len=seq_len,
        progress=progress,
    )
    windows = cut_windows(text, shape, name=place.name, samples=samples or SAMPLES, seed=seed)
    return CalibrationText(windows, _between(text, shape, windows, seed=seed, spare=spare))


def _rows_behind(rows: TextRows, spare: int, **facts: Any) -> TokenWindows | None:
    """The rows that come next, if they are windows; nobody asked for them, so none is refused."""
    try:
        return id_windows(TextRows(rows.column, islice(rows.values, spare)), samples=None, **facts)
    except TextError:
        return None


def _between(
    text: TokenSequence, shape: WindowCutter, windows: TokenWindows, *, seed: int, spare: int
) -> TokenWindows | None:
    """Windows that lie between those that `cut_windows` cuts of the same."""
    record = windows.record
    taken = draw_positions(len(text.ids), shape.body, record.samples, seed)
    positions = draw_positions_between(taken, shape.body, len(text.ids), count=spare, seed=seed)
    if not len(positions):
        return None
    return _windows_at(positions, text, shape, name=record.source, seed=seed)


def text_windows(
    place: TextSource,
    rows: TextRows,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vocab_size: int,
    samples: int | None,
    seq_len: int | None,
    seed: int,
    progress: Progress,
) -> TokenWindows:
    """Cut windows of opened rows of text, or of conversations: every token of them counts."""
    text, shape = _read(
        place,
        rows,
        tokenizer,
        vocab_size=vocab_size,
        samples=samples,
        seq_len=seq_len,
        progress=progress,
    )
    return cut_windows(text, shape, name=place.name, samples=samples or SAMPLES, seed=seed)


def _read(
    place: TextSource,
    rows: TextRows,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vocab_size: int,
    samples: int | None,
    seq_len: int | None,
    progress: Progress,
) -> tuple[TokenSequence, WindowCutter]:
    """The text as far as it is read, and the shape of its windows."""
    shape = WindowCutter.of(tokenizer, seq_len or SEQ_LEN, rows.column)
    text = tokenise(
        read_texts(rows, tokenizer, place.name),
        tokenizer,
        name=place.name,
        vocab_size=vocab_size,
        enough=oversampling_of(place) * (samples or SAMPLES) * shape.body,
        progress=progress,
        joined_by_eos=rows.column is Column.TEXT,
    )
    return text, shape


def oversampling_of(source: TextSource) -> int:
    """How many times the tokens needed are read of a source."""
    return STREAM_OVERSAMPLING if isinstance(source, HubText) else OVERSAMPLING


def draw_positions(tokens: int, length: int, samples: int, seed: int) -> Ids:
    """Starts of `samples` spans of `length` in a row of `tokens`, ascending, none over another.

    The tokens that no span needs become gaps: a start is a sorted random offset into that slack
    plus the spans before it.
    """
    slack = tokens - samples * length
    offsets = np.random.default_rng(seed).integers(0, slack + 1, size=samples)
    return np.sort(offsets) + length * np.arange(samples)


def draw_positions_between(taken: Ids, length: int, tokens: int, *, count: int, seed: int) -> Ids:
    """Starts of up to `count` spans that overlap none of those `taken`, drawn by `seed`.

    Every gap between two of them is cut into whole spans from its beginning.
    """
    begins = np.concatenate([[0], taken + length])
    fit = (np.concatenate([taken, [tokens]]) - begins) // length
    starts = np.concatenate(
        [begin + length * np.arange(n) for begin, n in zip(begins, fit, strict=True)]
    )
    drawn = np.random.default_rng([seed, 1]).permutation(starts)[:count]
    return np.sort(drawn).astype(np.int64)


def cut_windows(
    text: TokenSequence, shape: WindowCutter, *, name: str, samples: int, seed: int
) -> TokenWindows:
    """Cut windows at seeded positions, if the text is long enough."""
    tokens = len(text.ids)
    largest = tokens // shape.body
    if largest < samples:
        raise TextError(
            f"{name}: its {tokens:,} tokens give at most {largest} windows of {shape.seq_len} "
            f"tokens, not {samples}; say --samples {largest}, a smaller --seq-len, or more text."
            if largest
            else f"{name}: its {tokens:,} tokens don't fill one window of {shape.seq_len} tokens "
            f"(0 of the {samples} asked); say a smaller --seq-len or give more text."
        )
    positions = draw_positions(tokens, shape.body, samples, seed)
    return _windows_at(positions, text, shape, name=name, seed=seed)


def _windows_at(
    positions: Ids, text: TokenSequence, shape: WindowCutter, *, name: str, seed: int
) -> TokenWindows:
    """The windows that start there."""
    digests = text.documents_in(positions, shape.body)
    return make_windows(
        shape.cut(text.ids, positions),
        source=name,
        documents=len(digests),
        document_digests=digests,
        seq_len=shape.seq_len,
        stride=None,
        seed=seed,
        bos=shape.bos is not None,
    )
