"""Training windows: mixtures of sources, plain text and conversations with labels."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.calibration import DEFAULT_SOURCE, SEQ_LEN, oversampling_of, text_windows
from globalprune.text.conversations import ConversationTokens, tokenise_conversations
from globalprune.text.readers import TRAINING_COLUMNS, Column, TextRows, TextUse
from globalprune.text.source import TextSource, parse_source
from globalprune.text.token_rows import IGNORED_LABEL, TokenMask
from globalprune.text.tokenization import Ids, TokenSequence, check_vocabulary, open_rows
from globalprune.text.windows import (
    TokenWindows,
    WindowCutter,
    check_counts,
    make_windows,
    read_token_rows,
    windows_from_rows,
)


@dataclass(frozen=True)
class TrainingText:
    """What one source gives: rows of ids and of labels, 1-D int64 of equal length each."""

    rows: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    record: TextRecord
    kind: Column
    asked: int  # windows; rows of ids may be fewer


@dataclass(frozen=True)
class Wish:
    """What is asked of every source alike."""

    load_tokenizer: Callable[[], PreTrainedTokenizerBase]
    vocab_size: int
    seq_len: int | None
    seed: int
    progress: Progress


def chat_windows(source: TextSource, rows: TextRows, samples: int, wish: Wish) -> TrainingText:
    """Windows of joined conversations, each with something to learn in it."""
    tokenizer = wish.load_tokenizer()
    shape = WindowCutter.of(tokenizer, wish.seq_len or SEQ_LEN, rows.column)
    text, trained = _joined(
        source, rows, tokenizer, oversampling_of(source) * samples * shape.body, wish
    )
    positions = _positions(source, trained, shape, samples, wish.seed)
    digests = text.documents_in(positions, shape.body)
    windows = make_windows(
        shape.cut(text.ids, positions),
        source=source.name,
        documents=len(digests),
        document_digests=digests,
        seq_len=shape.seq_len,
        stride=None,
        seed=wish.seed,
        bos=False,
    )
    labels = make_labels(windows, shape.bodies(trained, positions))
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)


def make_labels(windows: TokenWindows, learned: Sequence[TokenMask]) -> tuple[torch.Tensor, ...]:
    """The ids of each window, `IGNORED_LABEL` where they are not learned."""
    masks = map(torch.from_numpy, learned)
    return tuple(
        torch.where(mask, row, IGNORED_LABEL) for row, mask in zip(windows.rows, masks, strict=True)
    )


def _joined(
    source: TextSource, rows: TextRows, tokenizer: PreTrainedTokenizerBase, enough: int, wish: Wish
) -> tuple[TokenSequence, TokenMask]:
    """Conversations one behind the other until there are `enough` tokens; templates end them."""
    taken: list[ConversationTokens] = []
    count = 0
    for conversation in tokenise_conversations(rows, tokenizer, source.name):
        taken.append(conversation)
        count += len(conversation.ids)
        if count >= enough:
            break
    if not count:
        raise TextError(f"{source.name}: holds no conversation.")
    lengths = [len(conversation.ids) for conversation in taken]
    ids = np.concatenate([conversation.ids for conversation in taken])
    check_vocabulary([ids], tokenizer, wish.vocab_size, source.name)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    text = TokenSequence(ids, starts, tuple(conversation.digest for conversation in taken))
    return text, np.concatenate([conversation.trained for conversation in taken])


def _positions(
    source: TextSource, trained: TokenMask, shape: WindowCutter, samples: int, seed: int
) -> Ids:
    """Starts of windows, none over another, drawn from those in which the assistant speaks."""
    generator = np.random.default_rng(seed)
    slack = len(trained) % shape.body if len(trained) >= shape.body else 0
    starts = np.arange(generator.integers(0, slack + 1), len(trained) - shape.body + 1, shape.body)
    # the first token of a window is never predicted
    useful = [start for start in starts if trained[start + 1 : start + shape.body].any()]
    if len(useful) < samples:
        raise TextError(
            f"{source.name}: its conversations give {len(useful)} windows of {shape.seq_len} "
            f"tokens with something to learn, not {samples}; say --samples {len(useful) or 1}, a "
            "smaller --seq-len, or give more."
        )
    return np.sort(generator.choice(np.array(useful, np.int64), samples, replace=False))


_MOST: Final = 1e9
_WEIGHTED: Final = re.compile(r"(?P<source>.+)@(?P<weight>[^@/\\]+)")


@dataclass(frozen=True)
class WeightedSource:
    """A source, and its part of all windows beside the others' weights."""

    source: TextSource
    weight: float


def parse_mixture(texts: Sequence[str]) -> tuple[WeightedSource, ...]:
    """Take `SRC[@WEIGHT]` apart; without a weight it is 1. Only their proportions matter."""
    return tuple(_parse(text) for text in texts)


def divide_samples(weights: Sequence[float], samples: int) -> list[int]:
    """Divide `samples` by weight, to the last one: the largest remainders are rounded up."""
    total = sum(weights)
    exact = [samples * weight / total for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: samples - sum(counts)]:
        counts[index] += 1
    return counts


def _parse(text: str) -> WeightedSource:
    """A path that exists as it stands is never taken apart."""
    found = _WEIGHTED.fullmatch(text)
    if found is None or _exists(text):
        return WeightedSource(parse_source(text), 1.0)
    try:
        weight = float(found["weight"])
    except ValueError as error:
        raise TextError(
            f"{text}: what stands behind @ is the source's weight, and {found['weight']!r} is no "
            "number; write SRC@0.7."
        ) from error
    if not 0 < weight < _MOST:
        raise TextError(f"{text}: the weight {found['weight']} is not a number above 0 (to 1e9).")
    return WeightedSource(parse_source(found["source"]), weight)


def _exists(text: str) -> bool:
    """Whether the whole text names something on this machine."""
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError):
        return False


SAMPLES: Final = 500


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

    A source of `input_ids` gives its rows as they stand. Raises `TextError` where a source has too
    little, and says how many windows it would give.
    """
    check_counts(samples=samples, seq_len=seq_len, seed=seed)
    mixture = parse_mixture(sources or (DEFAULT_SOURCE,))
    counts = divide_samples([part.weight for part in mixture], samples or SAMPLES)
    if not all(counts):
        raise TextError(
            f"{samples or SAMPLES} windows over {len(mixture)} sources leave some without any; "
            "say more --samples or fewer --data."
        )
    wish = Wish(load_tokenizer, vocab_size, seq_len, seed, progress)
    return tuple(_text_of(part, count, wish) for part, count in zip(mixture, counts, strict=True))


def _text_of(part: WeightedSource, samples: int, wish: Wish) -> TrainingText:
    """The windows of one source."""
    rows = open_rows(
        part.source, TextUse.CALIBRATION, shuffle_seed=wish.seed, wanted=TRAINING_COLUMNS
    )
    if rows.column is Column.MESSAGES:
        return chat_windows(part.source, rows, samples, wish)
    if rows.column is Column.INPUT_IDS:
        return _rows_as_they_stand(part, rows, samples, wish)
    windows = text_windows(
        part.source,
        rows,
        wish.load_tokenizer(),
        vocab_size=wish.vocab_size,
        samples=samples,
        seq_len=wish.seq_len,
        seed=wish.seed,
        progress=wish.progress,
    )
    return TrainingText(windows.rows, windows.rows, windows.record, rows.column, samples)


def _rows_as_they_stand(
    part: WeightedSource, rows: TextRows, samples: int, wish: Wish
) -> TrainingText:
    """The first rows of ids, whatever is cut beside them, without what their labels leave out."""
    name = part.source.name
    taken = read_token_rows(rows, name=name, vocab_size=wish.vocab_size, samples=samples)
    for row in taken:
        if not row.learned[1:].any():  # the first token of a window is never predicted
            raise TextError(
                f"{row.where}: `{row.masked_by}` leaves every token out of the loss, so there is "
                "nothing to learn; drop the row."
            )
    windows = windows_from_rows(taken, name)
    labels = make_labels(windows, [row.learned for row in taken])
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)
