"""A table of rich as lines of plain text, as wide as the terminal."""

import io
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST: Final = 100  # columns where there is no terminal to ask


def lines_of(table: "Table") -> list[str]:
    """Draw it without colours, and without blanks at the ends of lines."""
    from rich.console import Console

    drawn = io.StringIO()
    width = shutil.get_terminal_size((NARROWEST, 24)).columns
    Console(file=drawn, width=width, color_system=None, highlight=False, markup=False).print(table)
    return [line.rstrip() for line in drawn.getvalue().splitlines()]
