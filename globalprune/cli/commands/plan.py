"""`gp plan`: turn an analysis and a ratio into a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli import plan_options as budgets
from globalprune.cli import plan_options as constraints

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import Analysis
    from globalprune.artifacts.analyses.group_table import GroupTable
    from globalprune.planning.write import WrittenPlan


def plan(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The analysis: a folder that gp analyze wrote.", show_default=False
        ),
    ],
    ratio: Annotated[
        list[float] | None,
        options.ratio_option(
            "Fraction of all parameters to remove; say it again for more plans.",
            show_default=False,
        ),
    ] = None,
    params: budgets.Params = None,
    size: budgets.Size = None,
    kv_cache: budgets.KvCache = None,
    flops: budgets.Flops = None,
    latency: budgets.Latency = None,
    machine: budgets.Machine = None,
    dtype: budgets.Dtype = None,
    context: budgets.Context = None,
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
    protect_layers: constraints.ProtectLayers = None,
    min_attention_groups: constraints.MinAttentionGroups = None,
    min_mlp: constraints.MinMlp = None,
    max_layer_ratio: constraints.MaxLayerRatio = None,
    only: constraints.Only = None,
    attention_share: constraints.AttentionShare = None,
    round_mlp: constraints.RoundMlp = None,
    runtime: constraints.Runtime = None,
    uniform: constraints.Uniform = False,
    whole_layers: constraints.WholeLayers = False,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="knapsack, or layerwise: the founding scripts' older way, a ratio for each layer "
            "and a fixed --attention-share of it.",
            show_default="knapsack",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="Let every plan remove all that those of smaller ratios do.",
        ),
    ] = False,
    replanned: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PLAN",
            help="Plan anew, but keep that plan's pins and hand edits, and its constraints, "
            "importance and strategy as far as you say no other.",
            show_default=False,
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
    largest: options.Largest = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace plans that were edited by hand; their pins are kept."
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Turn an analysis and a ratio into a plan that you can read and edit.

    Of all cuts that keep every budget, it is the one that loses least importance, over all layers
    and both kinds. No model is loaded. Pins in the plan that is replaced, or in DIR/plan.yaml, are
    honoured and kept; what you say here of what may not go stands in the plan.

    Example:  gp plan analysis --ratio 0.1 --ratio 0.2 -o plans
    """
    from globalprune.artifacts.analyses.analysis import (
        doubt_of,
        read_analysis,
        scored_table,
        scoring_of,
    )
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.plan_text import finish, plan_document, plan_lines
    from globalprune.planning.options import parse_budgets, parse_constraints
    from globalprune.planning.write import refuse_csv_place, write_plans

    if csv is not None:
        refuse_csv_place(csv)
    analysis = read_analysis(folder)
    asked = parse_constraints(
        len(analysis.record.structure.layers),
        protect_layers=protect_layers,
        min_attention_groups=min_attention_groups,
        min_mlp=min_mlp,
        max_layer_ratio=max_layer_ratio,
        only=only,
        attention_share=attention_share,
        round_mlp=round_mlp,
        runtime=runtime,
        uniform=uniform or None,
        whole_layers=whole_layers or None,
    )
    with writer_lock(out or folder):
        written = write_plans(
            analysis,
            ratio or [],
            out,
            budgets=parse_budgets(
                parameters=params,
                size=size,
                kv_cache=kv_cache,
                flops=flops,
                latency=latency,
                dtype=dtype,
                context=context,
            ),
            machine=machine,
            importance=importance,
            normaliser=normaliser,
            constraints=asked,
            nested=nested,
            strategy=strategy,
            replanned=replanned,
            overwrite=overwrite,
            largest=largest,
        )
    made = tuple(plan for plan in written if plan.written)
    if csv is not None and made:
        table = scored_table(analysis, scoring_of(analysis.record, importance, normaliser))
        _write_csv(csv, analysis, table, made)
    doubt = doubt_of(analysis.record, written[0].planned.scoring)
    if as_json:
        console.print_json({"doubt": doubt, "plans": [plan_document(plan) for plan in written]})
    elif made:
        console.print_text("\n".join([*filter(None, [doubt]), *plan_lines(made)]))
    finish(written)


def _write_csv(
    path: Path, analysis: "Analysis", table: "GroupTable", written: "tuple[WrittenPlan, ...]"
) -> None:
    """Write the table, a column for each plan."""
    from globalprune.planning.write import write_csv

    plans = {"removed": written[0].planned.plan}
    if len(written) > 1:
        plans = {
            f"removed_{plan.path.stem.removeprefix('plan-')}": plan.planned.plan for plan in written
        }
    write_csv(path, table, analysis.record.structure, plans)
