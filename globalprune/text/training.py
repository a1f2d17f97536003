"""Windows to train on: full ones, without padding, from any mixture of sources.

Documents and conversations are joined and cut, as text for calibration is. Of a conversation only
the assistant's words are learned; the rest of the window is there to be read.
"""

from collections.abc import Callable, Sequence
from typing import Final

from transformers import PreTrainedTokenizerBase

from globalprune.errors import TextError
from globalprune.progress import Progress, silent
from globalprune.text.builtin import Part
from globalprune.text.calibration import DEFAULT_SOURCE, text_windows
from globalprune.text.chat_windows import TrainingText, Wish, chat_windows, labels_of
from globalprune.text.cutting import check_counts
from globalprune.text.documents import open_rows
from globalprune.text.id_windows import token_rows, windows_of
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


def _rows_as_they_stand(part: WeightedSource, rows: Rows, samples: int, wish: Wish) -> TrainingText:
    """The first rows of ids, whatever is cut beside them, without what their labels leave out."""
    name = part.source.name
    taken = token_rows(rows, name=name, vocab_size=wish.vocab_size, samples=samples)
    for row in taken:
        if not row.learned[1:].any():  # the first token of a window is never predicted
            raise TextError(
                f"{row.where}: `{row.masked_by}` leaves every token out of the loss, so there is "
                "nothing to learn; drop the row."
            )
    windows = windows_of(taken, name)
    labels = labels_of(windows, [row.learned for row in taken])
    return TrainingText(windows.rows, labels, windows.record, rows.column, samples)
