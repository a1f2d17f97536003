"""Windows to train on: full ones, without padding, from any mixture of sources.

Documents and conversations are joined and cut, as text for calibration is. Of a conversation only
the assistant's words are learned; the rest of the window is there to be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.analysis_record import TextRecord
from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.builtin import Part
from globalprune.text.calibration import DEFAULT_SOURCE, spread_of, text_windows
from globalprune.text.conversations import Conversation, Mask, read_conversations
from globalprune.text.cutting import WindowShape, check_counts
from globalprune.text.documents import open_rows
from globalprune.text.id_windows import id_windows
from globalprune.text.mixture import WeightedSource, parse_mixture, windows_of_each
from globalprune.text.rows import TO_TRAIN, Column, Rows
from globalprune.text.source import TextSource
from globalprune.text.tokens import Ids, TokenisedText, check_vocabulary
from globalprune.text.windows import make_windows

SAMPLES: Final = 500
SEQ_LEN: Final = 512
IGNORED: Final = -100  # the label that transformers leaves out of a loss


@dataclass(frozen=True)
class TrainingText:
    """What one source gives: rows of ids and of labels, 1-D int64 of equal length each."""

    rows: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    record: TextRecord
    kind: Column
    asked: int  # windows; rows of ids may be fewer


@dataclass(frozen=True)
class _Wish:
    """What is asked of every source alike."""

    load_tokenizer: Callable[[], PreTrainedTokenizerBase]
    vocab_size: int
    seq_len: int | None
    seed: int
    progress: Progress


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
    counts = windows_of_each([part.weight for part in mixture], samples or SAMPLES)
    if not all(counts):
        raise TextError(
            f"{samples or SAMPLES} windows over {len(mixture)} sources leave some without any; "
            "say more --samples or fewer --data."
        )
    wish = _Wish(load_tokenizer, vocab_size, seq_len, seed, progress)
    return tuple(_text_of(part, count, wish) for part, count in zip(mixture, counts, strict=True))


def _text_of(part: WeightedSource, samples: int, wish: _Wish) -> TrainingText:
    """The windows of one source."""
    rows = open_rows(part.source, Part.CALIBRATION, shuffle_seed=wish.seed, wanted=TO_TRAIN)
    if rows.column is Column.MESSAGES:
        return _chat_windows(part.source, rows, samples, wish)
    if rows.column is Column.INPUT_IDS:  # they stand as they are, whatever is cut beside them
        first = Rows(rows.column, islice(rows.values, samples))
        windows = id_windows(
            first,
            name=part.source.name,
            vocab_size=wish.vocab_size,
            samples=None,
            seq_len=None,
        )
    else:
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


def _chat_windows(source: TextSource, rows: Rows, samples: int, wish: _Wish) -> TrainingText:
    """Windows of joined conversations, each with something to learn in it."""
    tokenizer = wish.load_tokenizer()
    if tokenizer.chat_template is None:
        raise TextError(
            f"{source.name}: holds `messages`, and the model's tokenizer has no chat template to "
            "write them down with; give them as `text`, or name a model that has one."
        )
    # templates write BOS themselves
    shape = replace(WindowShape.of(tokenizer, wish.seq_len or SEQ_LEN), bos=None)
    text, trained = _joined(source, rows, tokenizer, spread_of(source) * samples * shape.body, wish)
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
    masks = [torch.from_numpy(mask) for mask in shape.bodies(trained, positions)]
    labels = tuple(
        torch.where(mask, row, IGNORED) for row, mask in zip(windows.rows, masks, strict=True)
    )
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)


def _joined(
    source: TextSource, rows: Rows, tokenizer: PreTrainedTokenizerBase, enough: int, wish: _Wish
) -> tuple[TokenisedText, Mask]:
    """Conversations one behind the other until there are `enough` tokens; templates end them."""
    taken: list[Conversation] = []
    count = 0
    for conversation in read_conversations(rows, tokenizer):
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
    text = TokenisedText(ids, starts, tuple(conversation.digest for conversation in taken))
    return text, np.concatenate([conversation.trained for conversation in taken])


def _positions(
    source: TextSource, trained: Mask, shape: WindowShape, samples: int, seed: int
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
