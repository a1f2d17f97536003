"""`gp plan`: turn an analysis and a ratio into a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options

if TYPE_CHECKING:
    from globalprune.artifacts.analysis_folder import Analysis
    from globalprune.artifacts.group_table import GroupTable
    from globalprune.planning.writing import WrittenPlan


def plan(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The analysis: a folder that gp analyze wrote.", show_default=False
        ),
    ],
    ratio: Annotated[
        list[float],
        typer.Option(
            help="Fraction of all parameters to remove; say it again for more plans.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PLAN|FOLDER",
            help="A .yaml file for one plan, or a folder for plan-0.20.yaml and so on.",
            show_default="DIR/plan.yaml; DIR for several",
        ),
    ] = None,
    importance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Score by the table's column importance_NAME; a column of your own will do.",
            show_default="the one that the table is scored by",
        ),
    ] = None,
    normaliser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{options.NORMALISERS}",
            show_default="the one that analysis.json names for the importance, else none",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the whole table as CSV, with a column that says what goes.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace plans that were edited by hand; their pins are kept."
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Turn an analysis and a ratio into a plan that you can read and edit.

    The groups with the lowest score (importance for each parameter) go first, over all layers and
    both kinds, until the ratio of all parameters is reached. No model is loaded. Pins in the plan
    that is replaced, or in DIR/plan.yaml, are honoured and kept.

    Example:  gp plan analysis --ratio 0.1 --ratio 0.2 -o plans
    """
    from globalprune.artifacts.analysis_folder import read_analysis
    from globalprune.cli.plan_text import finish, plan_lines
    from globalprune.planning.csv_table import refuse_csv_place
    from globalprune.planning.scoring import scored_table, scoring_of
    from globalprune.planning.writing import write_plans

    if csv is not None:
        refuse_csv_place(csv)
    analysis = read_analysis(folder)
    written = write_plans(
        analysis, ratio, out, importance=importance, normaliser=normaliser, overwrite=overwrite
    )
    if csv is not None:
        table = scored_table(analysis, scoring_of(analysis.record, importance, normaliser))
        _write_csv(csv, analysis, table, written)
    if as_json:
        console.print_json({"plans": [_document(plan) for plan in written]})
    else:
        console.print_text("\n".join(plan_lines(written)))
    finish(written)


def _write_csv(
    path: Path, analysis: "Analysis", table: "GroupTable", written: "tuple[WrittenPlan, ...]"
) -> None:
    """Write the table, a column for each plan."""
    from globalprune.planning.csv_table import write_csv
    from globalprune.planning.places import spelled_ratio

    plans = {"removed": written[0].planned.plan}
    if len(written) > 1:
        plans = {
            f"removed_{spelled_ratio(plan.planned.ratio)}": plan.planned.plan for plan in written
        }
    write_csv(path, table, analysis.record.structure, plans)


def _document(written: "WrittenPlan") -> dict[str, object]:
    """One plan's figures for a program."""
    planned = written.planned
    effect = planned.effect
    return {
        "path": str(written.path),
        "ratio_asked": planned.ratio,
        "ratio": effect.ratio,
        "parameters_before": effect.parameters_before,
        "parameters_after": effect.parameters_after,
        "removed": effect.removed,
        "removed_groups": effect.removed_groups,
        "dropped_layers": effect.dropped_layers,
        "reached": planned.reached,
        "notes": planned.notes,
    }
