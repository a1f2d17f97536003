"""What an evaluation says: models side by side, each figure with its error."""

from globalprune.artifacts.evaluations.evaluation import Comparison, ModelResult
from globalprune.artifacts.evaluations.evaluation_files import all_warnings
from globalprune.artifacts.evaluations.evaluation_table import (
    Cell,
    Row,
    difference_text,
    label,
    rows_of,
    stamp_lines,
    value_text,
)
from globalprune.report.content import Block, Glance, Lines, Part, Table, commands, warnings
from globalprune.report.wording import percent, provenance


def evaluation_part(comparison: Comparison) -> Part:
    """The table and what it was measured with."""
    rows = rows_of(comparison)
    blocks: list[Block] = [
        _table(comparison, [row for row in rows if not row.detail]),
        Lines(tuple(stamp_lines(comparison))),
        *warnings(tuple(all_warnings(comparison))),
    ]
    if details := [row for row in rows if row.detail]:
        blocks.append(_table(comparison, details, title="Tasks within groups of tasks"))
    blocks += commands(comparison.command)
    digests = {
        f"weights of {model.source}": model.weights for model in comparison.models
    } | {"windows of text": comparison.text.digest}  # fmt: skip
    blocks.append(provenance(digests, comparison.versions))
    return Part("evaluation", "What it is like", tuple(blocks))


def evaluation_glances(comparison: Comparison) -> tuple[Glance, ...]:
    """A line for every model; what is removed, beside the first one."""
    first = comparison.models[0]
    return tuple(
        Glance(
            model.source,
            f"{model.parameters:,}",
            "" if model is first else percent(1 - model.parameters / first.parameters),
            *judged(comparison, model),
        )
        for model in comparison.models
    )


def judged(comparison: Comparison, model: ModelResult) -> tuple[str, str, str]:
    """A model's perplexity, what it is of, and the digest of the windows."""
    (row,) = (row for row in rows_of(comparison) if row.metric == "perplexity")
    cell = row.cells[comparison.models.index(model)]
    return value_text(row, cell), comparison.text.source, model.perplexity.windows


def _table(comparison: Comparison, rows: list[Row], title: str = "") -> Table:
    """A figure a row, a model a column."""
    head = ("", *(model.source for model in comparison.models))
    cells = tuple((label(row), *(_cell(row, cell) for cell in row.cells)) for row in rows)
    return Table(head, cells, title)


def _cell(row: Row, cell: Cell) -> str:
    """A figure, and under it how far it is from the first model's."""
    return "\n".join(filter(None, (value_text(row, cell), difference_text(row, cell))))
