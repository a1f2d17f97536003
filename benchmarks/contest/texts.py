"""The windows that every model is judged by: two sets of one text, and one of another domain."""

from collections.abc import Callable
from typing import Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from contest.question import Question
from globalprune.evaluation.windows import evaluation_windows
from globalprune.text.windows import TokenWindows, make_windows

STRIDED: Final = "strided"
OTHER: Final = "other"
FOREIGN: Final = "foreign"
Load = Callable[[], PreTrainedTokenizerBase]


def judging_texts(question: Question, load: Load, vocab_size: int) -> dict[str, TokenWindows]:
    """`strided` as `gp eval --stride` cuts them, `other` ones clear of those, and `foreign`."""
    length = question.eval_seq_len
    strided = evaluation_windows(
        question.judge,
        load,
        vocab_size=vocab_size,
        seq_len=length,
        stride=question.stride,
        samples=question.strided,
    )
    every = evaluation_windows(question.judge, load, vocab_size=vocab_size, seq_len=length)
    foreign = evaluation_windows(question.foreign, load, vocab_size=vocab_size, seq_len=length)
    starts = question.stride * np.arange(question.strided)
    return {
        STRIDED: strided,
        OTHER: evenly(every, clear_of(every, starts), question.others),
        FOREIGN: evenly(foreign, list(range(len(foreign.rows))), question.others),
    }


def clear_of(every: TokenWindows, starts: np.ndarray) -> list[int]:
    """Which of the text's windows share no token with windows of their length at `starts`."""
    step = every.record.stride
    if step is None:
        raise ValueError(f"{every.record.source}: rows of ids have no places to compare.")
    return [
        place for place in range(len(every.rows)) if (np.abs(starts - place * step) >= step).all()
    ]


def evenly(windows: TokenWindows, places: list[int], count: int) -> TokenWindows:
    """`count` of the windows, from all over the text; as many as there are if that is fewer."""
    picked = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    rows = [windows.rows[places[place]].numpy() for place in picked]
    facts = windows.record.model_dump(
        exclude={"samples", "documents", "tokens", "predicted_tokens", "digest", "stride"}
    )
    return make_windows(rows, stride=None, **facts)
