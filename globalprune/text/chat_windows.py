"""Windows of joined conversations, of which only the assistant's words are learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.errors import TextError
from globalprune.progress import Progress
from globalprune.text.calibration import SEQ_LEN, spread_of
from globalprune.text.conversations import Conversation, read_conversations
from globalprune.text.cutting import WindowShape
from globalprune.text.rows import Column, Rows
from globalprune.text.source import TextSource
from globalprune.text.token_rows import IGNORED, Mask
from globalprune.text.tokens import Ids, TokenisedText, check_vocabulary
from globalprune.text.windows import TokenWindows, make_windows


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


def chat_windows(source: TextSource, rows: Rows, samples: int, wish: Wish) -> TrainingText:
    """Windows of joined conversations, each with something to learn in it."""
    tokenizer = wish.load_tokenizer()
    shape = WindowShape.of(tokenizer, wish.seq_len or SEQ_LEN, rows.column)
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
    labels = labels_of(windows, shape.bodies(trained, positions))
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)


def labels_of(windows: TokenWindows, learned: Sequence[Mask]) -> tuple[torch.Tensor, ...]:
    """The ids of each window, `IGNORED` where they are not learned."""
    masks = map(torch.from_numpy, learned)
    return tuple(
        torch.where(mask, row, IGNORED) for row, mask in zip(windows.rows, masks, strict=True)
    )


def _joined(
    source: TextSource, rows: Rows, tokenizer: PreTrainedTokenizerBase, enough: int, wish: Wish
) -> tuple[TokenisedText, Mask]:
    """Conversations one behind the other until there are `enough` tokens; templates end them."""
    taken: list[Conversation] = []
    count = 0
    for conversation in read_conversations(rows, tokenizer, source.name):
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
