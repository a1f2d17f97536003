"""The text of an evaluation, cut into windows once for each tokenizer.

The windows are contiguous, from the start of the text, and equal for every run.
"""

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError, UsageError
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import EvaluateOptions
from globalprune.progress import Progress, silent
from globalprune.text.calibration import SEQ_LEN
from globalprune.text.conversations import read_texts
from globalprune.text.readers import TextUse, open_rows
from globalprune.text.rows import Column
from globalprune.text.source import BUILTIN, parse_source
from globalprune.text.tokenization import TokenSequence, tokenise
from globalprune.text.windows import TokenWindows, WindowCutter, check_counts, id_windows


class EvaluationText:
    """The windows that models are evaluated on; models of one tokenizer share them."""

    def __init__(self, options: EvaluateOptions, progress: Progress = silent) -> None:
        """Take the text and the shape of its windows from the options; nothing is read yet."""
        self._options, self._progress = options, progress
        self._known: list[tuple[int, str | None, TokenWindows]] = []

    def windows_for(self, model: PreparedModel) -> TokenWindows:
        """Return the windows as the model's tokenizer cuts them.

        Raise `TextError` where the text is too short, or has ids that the model doesn't know.
        """
        for vocab_size, tokenizer, windows in self._known:
            if vocab_size == model.vocab_size and tokenizer in (None, model.tokenizer_digest):
                return windows
        return self._cut(model)

    def _cut(self, model: PreparedModel) -> TokenWindows:
        """Read the text; rows of `input_ids` take no tokenizer, so they are any tokenizer's."""
        loaded: list[str | None] = []

        def load_tokenizer() -> PreTrainedTokenizerBase:
            loaded.append(model.tokenizer_digest)
            return model.tokenizer

        options = self._options
        windows = evaluation_windows(
            options.data,
            load_tokenizer,
            vocab_size=model.vocab_size,
            samples=options.samples,
            seq_len=options.seq_len,
            stride=options.stride,
            progress=self._progress,
        )
        self._known.append((model.vocab_size, loaded[0] if loaded else None, windows))
        return windows


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

    None takes the held-out builtin text, all windows, 512 tokens, and a stride that leaves no gap.
    The rest after the last whole window is dropped. Streams are read in order. Raise `UsageError`
    for a stride that would count tokens twice, and `TextError` for text that is too short.
    """
    check_counts(samples=samples, seq_len=seq_len, stride=stride)
    origin = parse_source(source or BUILTIN)
    rows = open_rows(origin, TextUse.EVALUATION, shuffle_seed=None)
    if rows.column is Column.INPUT_IDS:
        if stride is not None:
            raise UsageError(f"{origin.name}: rows of `input_ids` have no --stride; leave it out.")
        return id_windows(
            rows, name=origin.name, vocab_size=vocab_size, samples=samples, seq_len=seq_len
        )
    tokenizer = load_tokenizer()
    cutter = WindowCutter.of(tokenizer, seq_len or SEQ_LEN, rows.column)
    step = _step(cutter, stride)
    text = tokenise(
        read_texts(rows, tokenizer, origin.name),
        tokenizer,
        name=origin.name,
        vocab_size=vocab_size,
        min_tokens=None if samples is None else (samples - 1) * step + cutter.text_length,
        progress=progress,
        joined_by_eos=rows.column is Column.TEXT,
    )
    return _cut(text, cutter, name=origin.name, samples=samples, step=step)


def _step(cutter: WindowCutter, stride: int | None) -> int:
    """Return the text tokens from one window's start to the next; BOS is no text."""
    if stride is None:
        return cutter.text_length
    if stride < cutter.text_length:
        raise UsageError(
            f"--stride {stride}: windows of {cutter.seq_len} tokens would overlap and count some "
            f"tokens twice; say {cutter.seq_len} or more."
        )
    return stride


def _cut(
    text: TokenSequence, cutter: WindowCutter, *, name: str, samples: int | None, step: int
) -> TokenWindows:
    """Cut the windows; raise `TextError` if the text is too short."""
    tokens = len(text.ids)
    length = cutter.text_length
    largest = (tokens - length) // step + 1 if tokens >= length else 0
    if largest < (samples or 1):
        raise TextError(
            f"{name}: its {tokens:,} tokens give {largest} windows of {cutter.seq_len} tokens at "
            f"stride {step}, not {samples or 1}; "
            + (f"say --samples {largest}, " if largest else "")
            + "a smaller --seq-len or --stride, or give more text."
        )
    positions = step * np.arange(samples or largest, dtype=np.int64)
    return cutter.windows(text, positions, name=name, stride=step)
