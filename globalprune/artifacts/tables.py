"""Tables as CSV for programs and spreadsheets, and as Markdown for people."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under the names of their columns; numbers in full, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first cells name the rows and whose others are figures.

    Cells are Markdown on one line; a `|` in them is escaped by `escape_markdown`.
    """
    rule = f"| --- |{' ---: |' * (len(head) - 1)}"
    return [_markdown_row(head), rule, *map(_markdown_row, rows)]


def _markdown_row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f"| {first} | {' | '.join(others)} |" if first else f"| | {' | '.join(others)} |"
