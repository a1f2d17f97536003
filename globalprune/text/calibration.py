"""Windows to measure a model with: equal lengths, seeded positions, no overlap, no padding."""

from collections.abc import Callable
from typing import Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.builtin import Part
from globalprune.text.cutting import WindowShape, check_counts
from globalprune.text.documents import open_rows, read_documents
from globalprune.text.id_windows import id_windows
from globalprune.text.rows import Column, Rows
from globalprune.text.source import HubText, TextSource, parse_source
from globalprune.text.tokens import Ids, TokenisedText, tokenise
from globalprune.text.windows import TokenWindows, make_windows

DEFAULT_SOURCE: Final = "HuggingFaceFW/fineweb-edu:sample-10BT:train"
SAMPLES: Final = 128
SEQ_LEN: Final = 512
# How many times the text needed is read, so that windows come from all over it; a stream is
# shuffled already, and every document of it costs network.
SPREAD: Final = 64
STREAM_SPREAD: Final = 8


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
    check_counts(samples=samples, seq_len=seq_len, seed=seed)
    place = parse_source(source or DEFAULT_SOURCE)
    rows = open_rows(place, Part.CALIBRATION, shuffle_seed=seed)
    if rows.column is Column.INPUT_IDS:
        return id_windows(
            rows, name=place.name, vocab_size=vocab_size, samples=samples, seq_len=seq_len
        )
    return text_windows(
        place,
        rows,
        load_tokenizer(),
        vocab_size=vocab_size,
        samples=samples,
        seq_len=seq_len,
        seed=seed,
        progress=progress,
    )


def text_windows(
    place: TextSource,
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vocab_size: int,
    samples: int | None,
    seq_len: int | None,
    seed: int,
    progress: Progress,
) -> TokenWindows:
    """Cut windows of opened rows of text."""
    shape = WindowShape.of(tokenizer, seq_len or SEQ_LEN)
    wanted = samples or SAMPLES
    text = tokenise(
        read_documents(rows),
        tokenizer,
        name=place.name,
        vocab_size=vocab_size,
        enough=spread_of(place) * wanted * shape.body,
        progress=progress,
    )
    return cut_windows(text, shape, name=place.name, samples=wanted, seed=seed)


def spread_of(source: TextSource) -> int:
    """How many times the tokens needed are read of a source."""
    return STREAM_SPREAD if isinstance(source, HubText) else SPREAD


def seeded_positions(tokens: int, length: int, samples: int, seed: int) -> Ids:
    """Starts of `samples` spans of `length` in a row of `tokens`, ascending, none over another.

    The tokens that no span needs become gaps: a start is a sorted random offset into that slack
    plus the spans before it.
    """
    slack = tokens - samples * length
    offsets = np.random.default_rng(seed).integers(0, slack + 1, size=samples)
    return np.sort(offsets) + length * np.arange(samples)


def cut_windows(
    text: TokenisedText, shape: WindowShape, *, name: str, samples: int, seed: int
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
    positions = seeded_positions(tokens, shape.body, samples, seed)
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
