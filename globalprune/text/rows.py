"""Rows of text: the columns that are read, and the rules that every reader follows.

The readers are our own: `datasets` takes more than a second to import, and guesses where these
refuse (UTF-16 without a mark, NULs, half surrogate pairs, endless lines, two columns of one name).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from globalprune.errors import TextError


class Column(StrEnum):
    """The column of a table that holds its text."""

    TEXT = "text"
    INPUT_IDS = "input_ids"
    MESSAGES = "messages"


# In order of preference: the first that a table has is read.
MEASURED_COLUMNS: Final = (Column.TEXT, Column.INPUT_IDS, Column.MESSAGES)
TRAINING_COLUMNS: Final = (Column.MESSAGES, Column.TEXT, Column.INPUT_IDS)
# Columns beside `input_ids`, with one entry for each token.
PADDING: Final = "attention_mask"
LABELS: Final = "labels"
POSITIONS: Final = "position_ids"
SEGMENTS: Final = "token_type_ids"
SEQUENCE_LENGTHS: Final = "seq_lengths"
LOSS_MASKS: Final = ("completion_mask", "assistant_masks", "assistant_mask", "loss_mask")
TOKEN_COLUMNS: Final = (PADDING, LABELS, POSITIONS, SEGMENTS, SEQUENCE_LENGTHS, *LOSS_MASKS)
TOOLS: Final = "tools"  # beside `messages`: the functions that an assistant may call
# Other names for conversations, and how to write these as `messages`.
_CONVERSATION_COLUMNS: Final = (
    ("conversations", "from and value of ShareGPT are role and content of `messages`"),
    ("conversation", "name the column `messages`, with role and content"),
    ("prompt", "prompt and answer are two messages, of the user and of the assistant"),
    ("instruction", "instruction and output are two messages, of the user and of the assistant"),
)


@dataclass(frozen=True)
class TextRows:
    """The rows of a source, read lazily and once.

    `values` yields where a row stands, for messages, and its columns by name. Every row has
    `column`. Rows of `text` have no other column; other rows have those that may belong to it.
    """

    column: Column
    values: Iterator[tuple[str, Mapping[str, object]]]


def choose_column(
    names: Iterable[object], where: str, columns: Sequence[Column] = MEASURED_COLUMNS
) -> Column:
    """Return the first of `columns` that is in `names`.

    Raise `TextError` if there is none, or if a table has two of that name.
    """
    listed = [str(name) for name in names]
    for column in columns:
        if listed.count(column) > 1:
            raise TextError(
                f"{where}: has {listed.count(column)} columns `{column}`; rename all but one of "
                "them."
            )
        if column in listed:
            return column
    advice = [text for name, text in _CONVERSATION_COLUMNS if name in listed]
    raise TextError(
        f"{where}: has no column {' or '.join(f'`{column}`' for column in columns)}; "
        f"found {', '.join(listed) or 'none'}. "
        + (
            f"Write conversations as `messages`: {advice[0]}."
            if advice
            else "Name the column that holds the documents `text`."
        )
    )
