"""What every source of text is read as: rows of one column, each with the place it stands at.

A source holds documents (`text`) or windows (`input_ids`), never both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from globalprune.errors import TextError


class Column(StrEnum):
    """What a row holds; `text` is taken where a table has both."""

    TEXT = "text"
    INPUT_IDS = "input_ids"


@dataclass(frozen=True)
class Rows:
    """The rows of a source, read lazily and once: (where it stands, its value)."""

    column: Column
    values: Iterator[tuple[str, object]]


def choose_column(names: Iterable[object], where: str) -> Column:
    """The column to read of those there are."""
    found = [str(name) for name in names]
    for column in Column:
        if found.count(column) > 1:
            raise TextError(
                f"{where}: has {found.count(column)} columns `{column}`; name only one of them so."
            )
        if column in found:
            return column
    raise TextError(
        f"{where}: has no column `text` or `input_ids`; found {', '.join(found) or 'none'}. "
        "Name the column that holds the documents `text`."
    )
