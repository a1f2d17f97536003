"""Training windows as they are read: one source behind the other, told again by a digest."""

from typing import Any

import torch

from globalprune.recover.windows import TrainingWindows, stack
from globalprune.text.readers import Column
from globalprune.text.token_rows import IGNORED
from globalprune.text.training import TrainingText

RECORD: Any = None


def text_of(rows: list[list[int]], labels: list[list[int]] | None = None) -> TrainingText:
    """Text of these rows."""
    ids, learned = (
        tuple(map(torch.tensor, values)) for values in (rows, rows if labels is None else labels)
    )
    return TrainingText(ids, learned, RECORD, Column.TEXT, len(ids))


def test_only_what_can_be_predicted_counts() -> None:
    """Not what is ignored, nor a window's first token, whatever its label."""
    chat = text_of([[5, 6, 7, 8]], [[5, IGNORED, 7, 8]])
    assert TrainingWindows([chat]).learned_tokens == 2
    assert TrainingWindows([chat, text_of([[1, 2, 3]])]).learned_tokens == 4


def test_sources_follow_each_other() -> None:
    """In the order in which they were named."""
    windows = TrainingWindows([text_of([[1, 2], [3, 4]]), text_of([[5, 6]])])
    rows = [windows[index]["input_ids"].tolist() for index in range(len(windows))]
    assert rows == [[1, 2], [3, 4], [5, 6]]
    batch = stack([windows[0], windows[2]])
    assert batch["input_ids"].tolist() == [[1, 2], [5, 6]]
    assert batch["labels"].tolist() == [[-100, 2], [-100, 6]]  # nothing predicts the first


def test_the_digest_is_of_ids_labels_and_order() -> None:
    """So that a run is only resumed on the very same lesson."""
    one = TrainingWindows([text_of([[1, 2], [3, 4]])]).digest
    assert TrainingWindows([text_of([[1, 2]]), text_of([[3, 4]])]).digest == one
    others = [
        text_of([[3, 4], [1, 2]]),
        text_of([[1, 2], [3, 5]]),
        text_of([[1, 2], [3, 4]], [[1, 2], [3, IGNORED]]),
        text_of([[1, 2]]),
    ]
    assert len({one, *(TrainingWindows([text]).digest for text in others)}) == 5


def test_windows_cut_otherwise_are_another_lesson() -> None:
    """The same ids in other rows."""
    assert (
        TrainingWindows([text_of([[1, 2, 3, 1, 2, 3]])]).digest
        != TrainingWindows([text_of([[1, 2, 3], [1, 2, 3]])]).digest
    )


def test_windows_are_ragged_where_any_length_differs() -> None:
    """Across sources too."""
    even = TrainingWindows([text_of([[1, 2], [3, 4]])])
    ragged = TrainingWindows([text_of([[1, 2], [3, 4]]), text_of([[1, 2, 3]])])
    assert (even.is_ragged, ragged.is_ragged) == (False, True)
