"""An evaluation's folder: evaluation.json, and the same as CSV and as Markdown.

`evaluation.json` is what programs read; the CSV has a row for every model and figure, in full
precision and base units; the Markdown is the table as a person reads it.
"""

from pathlib import Path

from globalprune.artifacts.command import format_command
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_table import (
    FigureCell,
    FigureRow,
    difference_text,
    figure_rows,
    row_label,
    settings_lines,
    value_text,
)
from globalprune.artifacts.formatting import describe_versions, escape_markdown, markdown_code
from globalprune.artifacts.records import read_record, write_record
from globalprune.artifacts.staging import updated_folder
from globalprune.artifacts.tables import csv_text, markdown_table

EVALUATION_FILE = "evaluation.json"
EVALUATION_CSV = "evaluation.csv"
EVALUATION_MARKDOWN = "evaluation.md"
_COLUMNS = (
    "model",
    "metric",
    "unit",
    "value",
    "standard_error",
    "difference",
    "difference_standard_error",
    "difference_is",
)


def write_evaluation(folder: Path, comparison: Comparison) -> None:
    """Write the three files, all or none of them."""
    with updated_folder(folder, (EVALUATION_FILE, EVALUATION_CSV, EVALUATION_MARKDOWN)) as new:
        (new / EVALUATION_CSV).write_bytes(evaluation_csv(comparison).encode())
        (new / EVALUATION_MARKDOWN).write_bytes(evaluation_markdown(comparison).encode())
        write_record(new / EVALUATION_FILE, comparison)


def read_evaluation(path: Path) -> Comparison:
    """Read evaluation.json; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(path, Comparison, what="an evaluation", command="gp eval")


def evaluation_csv(comparison: Comparison) -> str:
    """The figures as CSV, one row for every model and figure."""
    return csv_text(
        _COLUMNS,
        (
            (model.source, row.metric, row.unit, cell.value, cell.error, *_difference(row, cell))
            for row in figure_rows(comparison)
            for model, cell in zip(comparison.models, row.cells, strict=True)
        ),
    )


def evaluation_markdown(comparison: Comparison) -> str:
    """The table as Markdown, and under it how it was measured, and the warnings."""
    head = ["", *(escape_markdown(model.source) for model in comparison.models)]
    rows = (_cells(row) for row in figure_rows(comparison) if not row.detail)
    lines = [*markdown_table(head, rows), ""]
    lines += [f"- {escape_markdown(line)}" for line in settings_lines(comparison)]
    lines.append(f"- {escape_markdown(describe_versions(comparison.versions))}")
    if comparison.command:
        lines.append(f"- {markdown_code(format_command(comparison.command))}")
    lines += [f"- warning: {escape_markdown(text)}" for text in all_warnings(comparison)]
    return "\n".join(lines) + "\n"


def all_warnings(comparison: Comparison) -> list[str]:
    """All warnings, those of a model with its name."""
    own = [
        f"{model.source}: {warning}" for model in comparison.models for warning in model.warnings
    ]
    return [*own, *comparison.warnings]


def _difference(row: FigureRow, cell: FigureCell) -> tuple[float | None, float | None, str | None]:
    """The difference to the baseline, its error, and how both are meant."""
    kind = "fraction" if row.relative else "absolute"
    meaning = f"{kind}, paired" if cell.paired else kind
    is_known = cell.difference is not None
    return cell.difference, cell.difference_error, meaning if is_known else None


def _cells(row: FigureRow) -> list[str]:
    """The cells of one row of the Markdown table."""
    cells = [escape_markdown(row_label(row))]
    for cell in row.cells:
        moved = difference_text(row, cell)
        cells.append(value_text(row, cell) + (f"<br>{moved}" if moved else ""))
    return cells
