"""What every source of text is read as: rows, each with the place it stands at.

A source holds documents (`text`), windows (`input_ids`) or conversations (`messages`); which of
them a reader can use, and which it prefers where a table has several, is the reader's to say.
Columns beside windows and conversations belong to them: masks, labels, tools.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from globalprune.errors import TextError


class Column(StrEnum):
    """What a row holds."""

    TEXT = "text"
    INPUT_IDS = "input_ids"
    MESSAGES = "messages"


# The first that a table has is read.
TO_MEASURE: Final = (Column.TEXT, Column.INPUT_IDS, Column.MESSAGES)
TO_TRAIN: Final = (Column.MESSAGES, Column.TEXT, Column.INPUT_IDS)
# Beside `input_ids`: padding, what is not learned, and where one text in a row ends.
PADDING: Final = "attention_mask"
LABELS: Final = "labels"
POSITIONS: Final = "position_ids"
SEGMENTS: Final = "token_type_ids"
PACKED: Final = "seq_lengths"
LEARNED: Final = ("completion_mask", "assistant_masks", "assistant_mask", "loss_mask")  # by a 1
TOKEN_COLUMNS: Final = (PADDING, LABELS, POSITIONS, SEGMENTS, PACKED, *LEARNED)
TOOLS: Final = "tools"  # beside `messages`: the functions that an assistant may call
# How other data sets of dialogues name their columns, and what `messages` would be made of.
_DIALOGUES: Final = (
    ("conversations", "from and value of ShareGPT are role and content of `messages`"),
    ("conversation", "name the column `messages`, with role and content"),
    ("prompt", "prompt and answer are two messages, of the user and of the assistant"),
    ("instruction", "instruction and output are two messages, of the user and of the assistant"),
)


@dataclass(frozen=True)
class Rows:
    """The rows of a source, read lazily and once: (where it stands, its columns by name).

    Every row has `column`. Of the others a row of `text` has none, and the rest those that may
    belong to it.
    """

    column: Column
    values: Iterator[tuple[str, Mapping[str, object]]]


def choose_column(
    names: Iterable[object], where: str, wanted: Sequence[Column] = TO_MEASURE
) -> Column:
    """The column to read of those there are."""
    found = [str(name) for name in names]
    for column in wanted:
        if found.count(column) > 1:
            raise TextError(
                f"{where}: has {found.count(column)} columns `{column}`; name only one of them so."
            )
        if column in found:
            return column
    advice = [text for name, text in _DIALOGUES if name in found]
    raise TextError(
        f"{where}: has no column {' or '.join(f'`{column}`' for column in wanted)}; "
        f"found {', '.join(found) or 'none'}. "
        + (
            f"Write dialogues as `messages`: {advice[0]}."
            if advice
            else "Name the column that holds the documents `text`."
        )
    )
