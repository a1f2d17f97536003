"""A comparison as a table for the terminal: a row a figure, a column a model, baseline first."""

from typing import TYPE_CHECKING

from globalprune.cli.table_text import lines_of

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison


def render(comparison: "Comparison") -> str:
    """Draw the table, and under it what it was measured with."""
    from rich import box
    from rich.table import Table

    from globalprune.artifacts.evaluations.evaluation_table import (
        difference_text,
        label,
        rows_of,
        stamp_lines,
        value_text,
    )

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for result in comparison.models:
        table.add_column(result.source, justify="right", overflow="fold")
    for row in rows_of(comparison):
        if row.detail:
            continue
        cells = [
            "\n".join(filter(None, (value_text(row, cell), difference_text(row, cell))))
            for cell in row.cells
        ]
        table.add_row(label(row), *cells)
    return "\n".join([*lines_of(table), *stamp_lines(comparison)]).strip("\n")
