"""What commands print about results: of cuts, finetuning and evaluations."""

from typing import TYPE_CHECKING

from globalprune.cli import console
from globalprune.cli.console import lines_of

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.results.cut import ApplyResult
    from globalprune.artifacts.results.finetuning import FinetuneRun
    from globalprune.pipeline.apply import PruneResult


def show_result(result: "PruneResult", *, as_json: bool) -> None:
    """Print the result of a cut and of the phases after it, with its warnings."""
    from globalprune.artifacts.evaluations.evaluation_table import all_warnings

    warnings = [warning for warning in result.cut.warnings if warning not in result.warned]
    warnings += all_warnings(result.evaluation) if result.evaluation else []
    for warning in warnings:
        console.warn(warning)
    if as_json:
        console.print_json(result.document)
    else:
        console.print_text(_cut_summary(result.cut))
        if result.finetuning:
            console.print_text(finetuning_summary(result.finetuning))
        if result.evaluation:
            console.print_text("\n" + evaluation_text(result.evaluation))
    for note in result.notes:
        console.note(note)


def _cut_summary(result: "ApplyResult") -> str:
    """Return what a cut removed, and how the result loads."""
    from globalprune.artifacts.records import RECORDS_FOLDER

    before, after = result.parameters_before, result.parameters_after
    cut = f"{(before - after) / before:.2%} cut"
    removed = ", ".join(f"{count:,} {kind}" for kind, count in result.removed_groups.items())
    if result.dropped_layers:
        removed += f", layers {', '.join(map(str, result.dropped_layers))} whole"
    form = (
        "its layers differ in size: load it with trust_remote_code=True or globalprune.load_model"
        if result.uneven
        else "its layers are alike: it loads with transformers alone"
    )
    compensated = result.repaired_modules
    if compensated is not None:
        norm = " and the final norm" if result.final_norm_refitted else ""
        removed += f"\ncompensated: {compensated} sublayers{norm}"
    saved = f", converted to {result.save_dtype}" if result.save_dtype else ""
    weights = f"weights: {result.bytes_before:,} → {result.bytes_after:,} bytes, whole files{saved}"
    return (
        f"{result.out}: {after:,} of {before:,} parameters left ({cut})\n"
        f"{weights}\n"
        f"removed groups: {removed}\n{form}\n"
        f"its plan and records are in {result.out}/{RECORDS_FOLDER}"
    )


def evaluation_text(comparison: "Comparison") -> str:
    """Return a comparison as a table, and below it what it was measured with."""
    from rich import box
    from rich.table import Table

    from globalprune.artifacts.evaluations.evaluation_table import (
        difference_text,
        figure_rows,
        row_label,
        settings_lines,
        value_text,
    )

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for result in comparison.models:
        table.add_column(result.source, justify="right", overflow="fold")
    for row in figure_rows(comparison):
        if row.detail:
            continue
        cells = [
            "\n".join(filter(None, (value_text(row, cell), difference_text(row, cell))))
            for cell in row.cells
        ]
        table.add_row(row_label(row), *cells)
    return "\n".join([*lines_of(table), *settings_lines(comparison)]).strip("\n")


def finetuning_summary(run: "FinetuneRun") -> str:
    """Return what was trained, and how the loss fell."""
    tokens = run.settings.epochs * sum(part.text.tokens for part in run.data)
    steps = f"{run.steps:,} step{'' if run.steps == 1 else 's'}"
    of = "text and teacher" if run.teacher else "the text"
    return (
        f"finetuned ({run.settings.method}): {steps} over {tokens:,} tokens, "
        f"{run.trained_parameters:,} parameters trained, {run.seconds:.0f} s\n"
        f"loss {run.first_loss:.3f} -> {run.last_loss:.3f} nats a token of {of} "
        "(first and last tenth of the steps; globalprune/loss.csv has all); gp eval shows "
        "the gain"
    )
