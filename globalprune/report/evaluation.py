"""The sections of an evaluation and of a sweep."""

import io
from functools import partial
from typing import Any, Final

from globalprune.artifacts.evaluations.evaluation import Comparison, ModelResult
from globalprune.artifacts.evaluations.evaluation_table import (
    FigureCell,
    FigureRow,
    all_warnings,
    difference_text,
    figure_rows,
    row_label,
    settings_lines,
    value_text,
)
from globalprune.artifacts.evaluations.sweep import (
    SWEEP_HEAD,
    Sweep,
    SweepPoint,
    sweep_table,
    sweep_text_line,
)
from globalprune.artifacts.formatting import describe_model, describe_text
from globalprune.report.blocks import (
    Block,
    Lines,
    OverviewRow,
    Subsection,
    Table,
    command_block,
    format_percent,
    provenance_block,
    warning_block,
)
from globalprune.report.drawing import draw_plot

_SIZE: Final = (7.0, 4.5)  # inches
_LOGARITHMIC_FROM: Final = 4.0  # times the dense perplexity, at the worst point


def evaluation_subsection(comparison: Comparison) -> Subsection:
    """Return the subsection of an evaluation: its table and how it was measured."""
    rows = figure_rows(comparison)
    blocks: list[Block] = [
        _table(comparison, [row for row in rows if not row.detail]),
        Lines(tuple(settings_lines(comparison))),
        *warning_block(tuple(all_warnings(comparison))),
    ]
    if details := [row for row in rows if row.detail]:
        blocks.append(_table(comparison, details, title="Tasks within groups of tasks"))
    blocks += command_block(comparison.command)
    digests = {
        f"weights of {model.source}": model.weights for model in comparison.models
    } | {"windows of text": comparison.text.digest}  # fmt: skip
    blocks.append(provenance_block(digests, comparison.versions))
    return Subsection("evaluation", "What it is like", tuple(blocks))


def evaluation_overview(comparison: Comparison) -> tuple[OverviewRow, ...]:
    """Return a row for every model; what is removed is relative to the first model."""
    first = comparison.models[0]
    return tuple(
        OverviewRow(
            model.source,
            f"{model.parameters:,}",
            "" if model is first else format_percent(1 - model.parameters / first.parameters),
            *perplexity_columns(comparison, model),
        )
        for model in comparison.models
    )


def perplexity_columns(comparison: Comparison, model: ModelResult) -> tuple[str, str, str]:
    """Return a model's perplexity, the text that it is of, and the digest of its windows."""
    (row,) = (row for row in figure_rows(comparison) if row.metric == "perplexity")
    cell = row.cells[comparison.models.index(model)]
    return value_text(row, cell), comparison.text.source, model.perplexity.windows


def sweep_subsection(sweep: Sweep) -> Subsection:
    """Return the subsection of a sweep: its table and its curve."""
    caption = "Perplexity over what was removed; bars are standard errors."
    lines = [sweep_text_line(sweep), *_compensation_lines(sweep)]
    blocks: list[Block] = [
        Table(SWEEP_HEAD, tuple(sweep_table(sweep))),
        Lines(tuple(lines)),
        *draw_plot(caption, partial(draw_curve, sweep=sweep), _SIZE),
    ]
    blocks += command_block(sweep.command)
    digests = {"weights": sweep.dense.weights, "windows of text": sweep.text.digest}
    blocks.append(provenance_block(digests, sweep.versions))
    return Subsection(
        "sweep", f"Many plans of {describe_model(sweep.dense.source, None)}", tuple(blocks)
    )


def sweep_plot(sweep: Sweep) -> bytes:
    """Return the curve as SVG; equal sweeps give equal bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    draw_curve(figure, sweep)
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "globalprune"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue().encode()


def draw_curve(figure: Any, sweep: Sweep) -> None:
    """Draw the curve on an empty figure."""
    axes = figure.subplots()
    dense = sweep.dense.perplexity.value
    worst = max((point.result.perplexity.value or 0.0 for point in sweep.points), default=0.0)
    for name, points in sweep.lines.items():
        _draw_line(axes, name, points)
    if dense is not None:
        axes.axhline(dense, color="0.5", linestyle="--", linewidth=1, label="as it is")
        if worst > _LOGARITHMIC_FROM * dense:
            axes.set_yscale("log")
    axes.set_xlabel("parameters removed, % of all")
    axes.set_ylabel("perplexity")
    axes.set_title(sweep.text.source, fontsize="medium", parse_math=False)
    axes.grid(color="0.5", alpha=0.3)
    for entry in axes.legend().get_texts():
        entry.set_parse_math(False)  # a name with two $ is no formula


def _table(comparison: Comparison, rows: list[FigureRow], title: str = "") -> Table:
    """Return a table with a row for each figure and a column for each model."""
    head = ("", *(model.source for model in comparison.models))
    cells = tuple((row_label(row), *(_cell(row, cell) for cell in row.cells)) for row in rows)
    return Table(head, cells, title)


def _cell(row: FigureRow, cell: FigureCell) -> str:
    """Return a figure, and under it the difference to the first model's."""
    return "\n".join(filter(None, (value_text(row, cell), difference_text(row, cell))))


def _draw_line(axes: Any, name: str, points: tuple[SweepPoint, ...]) -> None:
    """Draw one line with its standard errors; an infinite perplexity has no point."""
    shown = [point for point in points if point.result.perplexity.value is not None]
    axes.errorbar(
        [100 * point.removed for point in shown],
        [point.result.perplexity.value for point in shown],
        yerr=[point.result.perplexity.standard_error or 0.0 for point in shown],
        marker="o",
        markersize=4,
        capsize=2,
        label=name,
    )


def _compensation_lines(sweep: Sweep) -> list[str]:
    """Say which points are masks, and which were cut and compensated."""
    compensated = sum(point.compensated for point in sweep.points)
    masked = len(sweep.points) - compensated
    lines = [f"judged as masks: {masked}; cut and compensated: {compensated}"]
    if sweep.repaired_on is not None:
        lines.append(f"compensated on {describe_text(sweep.repaired_on)}")
    return lines
