"""Windows to train on, with labels: mixtures of sources, of plain text and of conversations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.records import TextRecord
from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.calibration import (
    DEFAULT_SOURCE,
    SEQ_LEN,
    WindowRequest,
    oversampling_of,
    text_windows,
)
from globalprune.text.conversations import ConversationTokens, tokenise_conversations
from globalprune.text.readers import TextUse, open_rows
from globalprune.text.rows import IGNORED_LABEL, TRAINING_COLUMNS, Column, Ids, TextRows, TokenMask
from globalprune.text.source import TextSource, WeightedSource, parse_mixture
from globalprune.text.tokenization import TokenSequence, check_vocabulary
from globalprune.text.windows import (
    TokenWindows,
    WindowCutter,
    check_counts,
    read_token_rows,
    windows_from_rows,
)

SAMPLES: Final = 500


@dataclass(frozen=True)
class TrainingText:
    """The windows of one source: rows of ids and of labels, 1-D int64 of equal length each."""

    rows: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    record: TextRecord
    kind: Column
    samples: int  # windows that were asked for; a source of `input_ids` may have fewer


def training_texts(
    sources: Sequence[str],
    load_tokenizer: Callable[[], PreTrainedTokenizerBase],
    *,
    vocab_size: int,
    samples: int | None = None,
    seq_len: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[TrainingText, ...]:
    """Cut `samples` windows of `seq_len` tokens, divided among the sources by their weights.

    A source of `input_ids` gives its rows as they are. Raise `TextError` where a source has too
    little, with the number of windows that it has.
    """
    check_counts(samples=samples, seq_len=seq_len, seed=seed)
    mixture = parse_mixture(sources or (DEFAULT_SOURCE,))
    counts = divide_samples([part.weight for part in mixture], samples or SAMPLES)
    if not all(counts):
        raise TextError(
            f"{samples or SAMPLES} windows over {len(mixture)} sources leave some without any; "
            "say more --samples or fewer --data."
        )
    request = WindowRequest(load_tokenizer, vocab_size, samples, seq_len, seed, progress)
    return tuple(
        _read_source(part, replace(request, samples=count), count)
        for part, count in zip(mixture, counts, strict=True)
    )


def divide_samples(weights: Sequence[float], samples: int) -> list[int]:
    """Divide all `samples` by weight: the shares with the largest remainders are rounded up."""
    total = sum(weights)
    exact = [samples * weight / total for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: samples - sum(counts)]:
        counts[index] += 1
    return counts


def _read_source(part: WeightedSource, request: WindowRequest, samples: int) -> TrainingText:
    """Cut the windows of one source."""
    rows = open_rows(
        part.source, TextUse.CALIBRATION, shuffle_seed=request.seed, columns=TRAINING_COLUMNS
    )
    if rows.column is Column.MESSAGES:
        return _chat_windows(part.source, rows, request, samples)
    if rows.column is Column.INPUT_IDS:
        return _token_row_windows(part.source, rows, request, samples)
    windows = text_windows(part.source, rows, request)
    return TrainingText(windows.rows, windows.rows, windows.record, rows.column, samples)


def _token_row_windows(
    source: TextSource, rows: TextRows, request: WindowRequest, samples: int
) -> TrainingText:
    """Take the first rows of ids, of any length; their masks and labels decide what is learned."""
    taken = read_token_rows(rows, name=source.name, vocab_size=request.vocab_size, samples=samples)
    for row in taken:
        if not row.loss_mask[1:].any():  # the first token of a window is never predicted
            raise TextError(
                f"{row.where}: `{row.masked_by}` leaves every token out of the loss, so there is "
                "nothing to learn; drop the row."
            )
    windows = windows_from_rows(taken, source.name)
    labels = _make_labels(windows, [row.loss_mask for row in taken])
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)


def _chat_windows(
    source: TextSource, rows: TextRows, request: WindowRequest, samples: int
) -> TrainingText:
    """Cut windows of joined conversations, each with something to learn in it."""
    tokenizer = request.load_tokenizer()
    cutter = WindowCutter.of(tokenizer, request.seq_len or SEQ_LEN, rows.column)
    min_tokens = oversampling_of(source) * samples * cutter.text_length
    text, loss_mask = _join_conversations(source, rows, tokenizer, min_tokens, request.vocab_size)
    positions = _draw_useful_positions(source, loss_mask, cutter, samples, request.seed)
    windows = cutter.windows(text, positions, name=source.name, seed=request.seed)
    labels = _make_labels(windows, cutter.spans(loss_mask, positions))
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)


def _join_conversations(
    source: TextSource,
    rows: TextRows,
    tokenizer: PreTrainedTokenizerBase,
    min_tokens: int,
    vocab_size: int,
) -> tuple[TokenSequence, TokenMask]:
    """Join conversations until there are `min_tokens` ids; templates end them, so no EOS is put.

    Return them with their loss mask, `[T]` each.
    """
    taken: list[ConversationTokens] = []
    count = 0
    for conversation in tokenise_conversations(rows, tokenizer, source.name):
        taken.append(conversation)
        count += len(conversation.ids)
        if count >= min_tokens:
            break
    if not count:
        raise TextError(f"{source.name}: holds no conversation.")
    lengths = [len(conversation.ids) for conversation in taken]
    ids = np.concatenate([conversation.ids for conversation in taken])
    check_vocabulary([ids], tokenizer, vocab_size, source.name)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    text = TokenSequence(ids, starts, tuple(conversation.digest for conversation in taken))
    return text, np.concatenate([conversation.loss_mask for conversation in taken])


def _draw_useful_positions(
    source: TextSource, loss_mask: TokenMask, cutter: WindowCutter, samples: int, seed: int
) -> Ids:
    """Draw starts of disjoint windows from those in which the assistant speaks."""
    generator = np.random.default_rng(seed)
    tokens, length = len(loss_mask), cutter.text_length
    slack = tokens % length if tokens >= length else 0
    starts = np.arange(generator.integers(0, slack + 1), tokens - length + 1, length)
    # the first token of a window is never predicted
    useful = [start for start in starts if loss_mask[start + 1 : start + length].any()]
    if len(useful) < samples:
        raise TextError(
            f"{source.name}: its conversations give {len(useful)} windows of {cutter.seq_len} "
            f"tokens with something to learn, not {samples}; say --samples {len(useful) or 1}, a "
            "smaller --seq-len, or give more."
        )
    return np.sort(generator.choice(np.array(useful, np.int64), samples, replace=False))


def _make_labels(
    windows: TokenWindows, loss_masks: Sequence[TokenMask]
) -> tuple[torch.Tensor, ...]:
    """Return the ids of each window, `IGNORED_LABEL` where they are not learned."""
    masks = map(torch.from_numpy, loss_masks)
    return tuple(
        torch.where(mask, row, IGNORED_LABEL) for row, mask in zip(windows.rows, masks, strict=True)
    )
