"""Windows to train on: full ones, without padding, from any mixture of sources.

Documents and conversations are joined and cut, as text for calibration is. Of a conversation only
the assistant's words are learned; the rest of the window is there to be read.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.builtin import Part
from globalprune.text.calibration import DEFAULT_SOURCE, text_windows
from globalprune.text.chat_windows import TrainingText, Wish, chat_windows
from globalprune.text.cutting import check_counts
from globalprune.text.documents import open_rows
from globalprune.text.id_windows import id_windows
from globalprune.text.mixture import WeightedSource, parse_mixture, windows_of_each
from globalprune.text.rows import TO_TRAIN, Column, Rows

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
    counts = windows_of_each([part.weight for part in mixture], samples or SAMPLES)
    if not all(counts):
        raise TextError(
            f"{samples or SAMPLES} windows over {len(mixture)} sources leave some without any; "
            "say more --samples or fewer --data."
        )
    wish = Wish(load_tokenizer, vocab_size, seq_len, seed, progress)
    return tuple(_text_of(part, count, wish) for part, count in zip(mixture, counts, strict=True))


def _text_of(part: WeightedSource, samples: int, wish: Wish) -> TrainingText:
    """The windows of one source."""
    rows = open_rows(part.source, Part.CALIBRATION, shuffle_seed=wish.seed, wanted=TO_TRAIN)
    if rows.column is Column.MESSAGES:
        return chat_windows(part.source, rows, samples, wish)
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
