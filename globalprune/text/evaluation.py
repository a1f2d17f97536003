"""Windows to judge a model by: contiguous, from the start of the text, the same for every run."""

from collections.abc import Callable
from typing import Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError, UsageError
from globalprune.progress import Progress, silent
from globalprune.text.conversations import read_texts
from globalprune.text.readers import Column, TextUse
from globalprune.text.source import BUILTIN, parse_source
from globalprune.text.tokenization import TokenSequence, open_rows, tokenise
from globalprune.text.windows import (
    TokenWindows,
    WindowCutter,
    check_counts,
    id_windows,
    make_windows,
)

SEQ_LEN: Final = 512


def evaluation_windows(
    source: str | None,
    load_tokenizer: Callable[[], PreTrainedTokenizerBase],
    *,
    vocab_size: int,
    samples: int | None = None,
    seq_len: int | None = None,
    stride: int | None = None,
    progress: Progress = silent,
) -> TokenWindows:
    """Cut windows of `seq_len` tokens that start every `stride` tokens of text, from its beginning.

    None takes the held-out builtin text, every window, 512 tokens, one window behind the other.
    What is left behind the last whole window is dropped. Streams are read in order.
    """
    check_counts(samples=samples, seq_len=seq_len, stride=stride)
    place = parse_source(source or BUILTIN)
    rows = open_rows(place, TextUse.EVALUATION, shuffle_seed=None)
    if rows.column is Column.INPUT_IDS:
        if stride is not None:
            raise UsageError(f"{place.name}: rows of `input_ids` have no --stride; leave it out.")
        return id_windows(
            rows, name=place.name, vocab_size=vocab_size, samples=samples, seq_len=seq_len
        )
    tokenizer = load_tokenizer()
    shape = WindowCutter.of(tokenizer, seq_len or SEQ_LEN, rows.column)
    step = _step(shape, stride)
    text = tokenise(
        read_texts(rows, tokenizer, place.name),
        tokenizer,
        name=place.name,
        vocab_size=vocab_size,
        enough=None if samples is None else (samples - 1) * step + shape.body,
        progress=progress,
        joined_by_eos=rows.column is Column.TEXT,
    )
    return _cut(text, shape, name=place.name, samples=samples, step=step)


def _step(shape: WindowCutter, stride: int | None) -> int:
    """Text tokens from one window's start to the next; a BOS is not text, so it leaves no gap."""
    if stride is None:
        return shape.body
    if stride < shape.body:
        raise UsageError(
            f"--stride {stride}: windows of {shape.seq_len} tokens would overlap and count some "
            f"tokens twice; say {shape.seq_len} or more."
        )
    return stride


def _cut(
    text: TokenSequence, shape: WindowCutter, *, name: str, samples: int | None, step: int
) -> TokenWindows:
    """Cut the windows, if the text is long enough."""
    tokens = len(text.ids)
    largest = (tokens - shape.body) // step + 1 if tokens >= shape.body else 0
    if largest < (samples or 1):
        raise TextError(
            f"{name}: its {tokens:,} tokens give {largest} windows of {shape.seq_len} tokens at "
            f"stride {step}, not {samples or 1}; "
            + (f"say --samples {largest}, " if largest else "")
            + "a smaller --seq-len or --stride, or give more text."
        )
    positions = step * np.arange(samples or largest, dtype=np.int64)
    digests = text.documents_in(positions, shape.body)
    return make_windows(
        shape.cut(text.ids, positions),
        source=name,
        documents=len(digests),
        document_digests=digests,
        seq_len=shape.seq_len,
        stride=step,
        seed=None,
        bos=shape.bos is not None,
    )
