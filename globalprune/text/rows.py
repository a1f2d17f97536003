"""What every source of text is read as: rows of one column, each with the place it stands at.

A source holds documents (`text`), windows (`input_ids`) or conversations (`messages`); which of
them a reader can use, and which it prefers where a table has several, is the reader's to say.
"""

from collections.abc import Iterable, Iterator, Sequence
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
TO_MEASURE: Final = (Column.TEXT, Column.INPUT_IDS)
TO_TRAIN: Final = (Column.MESSAGES, *TO_MEASURE)


@dataclass(frozen=True)
class Rows:
    """The rows of a source, read lazily and once: (where it stands, its value)."""

    column: Column
    values: Iterator[tuple[str, object]]


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
    raise TextError(
        f"{where}: has no column {' or '.join(f'`{column}`' for column in wanted)}; "
        f"found {', '.join(found) or 'none'}. "
        "Name the column that holds the documents `text`."
    )
