"""`gp plan`: turn an analysis and a ratio into a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options, plan_options

if TYPE_CHECKING:
    from globalprune.planning.planner import PlanResult


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
            "Fraction of all parameters to remove; repeat it for more plans.",
            show_default=False,
        ),
    ] = None,
    params: plan_options.Params = None,
    size: plan_options.Size = None,
    kv_cache: plan_options.KvCache = None,
    flops: plan_options.Flops = None,
    latency: plan_options.Latency = None,
    machine: plan_options.Machine = None,
    dtype: plan_options.Dtype = None,
    context: plan_options.Context = None,
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
            help="Score by the table's column importance_NAME, which may be your own.",
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
    protect_layers: plan_options.ProtectLayers = None,
    min_attention_groups: plan_options.MinAttentionGroups = None,
    min_mlp: plan_options.MinMlp = None,
    max_layer_ratio: plan_options.MaxLayerRatio = None,
    only: plan_options.Only = None,
    attention_share: plan_options.AttentionShare = None,
    round_mlp: plan_options.RoundMlp = None,
    runtime: plan_options.Runtime = None,
    uniform: plan_options.Uniform = False,
    whole_layers: plan_options.WholeLayers = False,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="knapsack; or layerwise, an older method: a ratio for each layer, and a fixed "
            "--attention-share of it.",
            show_default="knapsack",
        ),
    ] = None,
    nested: Annotated[
        bool,
        typer.Option(
            "--nested",
            help="Let every plan remove all that the plans of smaller ratios remove.",
        ),
    ] = False,
    replanned: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PLAN",
            help="Plan anew, and keep that plan's pins and hand edits, and its constraints, "
            "importance and strategy where no others are given.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the whole table as CSV, with a column that says which groups go.",
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

    Of all cuts that keep every budget, the plan is the one that loses least importance, over all
    layers and both kinds of groups. No model is loaded. Pins in the plan that is replaced, or in
    DIR/plan.yaml, are honoured and kept; the plan records the budgets and constraints.

    Example:  gp plan analysis --ratio 0.1 --ratio 0.2 -o plans
    """
    from globalprune import api
    from globalprune.artifacts.analyses.analysis import read_analysis
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.plan_text import finish, plan_document, plan_lines
    from globalprune.options import PlanOptions
    from globalprune.planning.write import refuse_csv_place

    if csv is not None:
        refuse_csv_place(csv)
    analysis = read_analysis(folder)
    constraints = plan_options.parse_constraints(
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
    budgets = plan_options.parse_budgets(
        parameters=params,
        size=size,
        kv_cache=kv_cache,
        flops=flops,
        latency=latency,
        dtype=dtype,
        context=context,
    )
    plan_for = PlanOptions(
        ratios=tuple(ratio or ()),
        budgets=budgets,
        machine=machine,
        constraints=constraints,
        importance=importance,
        normaliser=normaliser,
        strategy=strategy,
        nested=nested,
        replanned=replanned,
        largest=largest,
        overwrite=overwrite,
    )
    with writer_lock(out or folder):
        results = api.plan(analysis, plan_for, out)
    written = tuple(result for result in results if result.written)
    if csv is not None and written:
        _write_csv(csv, written)
    warning = results[0].figures.trial_warning
    if as_json:
        plans = [plan_document(result) for result in results]
        console.print_json({"doubt": warning, "plans": plans})
    elif written:
        console.print_text("\n".join([*filter(None, [warning]), *plan_lines(written)]))
    finish(results)


def _write_csv(path: Path, results: "tuple[PlanResult, ...]") -> None:
    """Write the table, a column for each plan."""
    from globalprune.planning.write import write_csv

    figures = results[0].figures
    plans = {"removed": results[0].plan}
    if len(results) > 1:
        plans = {
            f"removed_{result.path.stem.removeprefix('plan-')}": result.plan for result in results
        }
    write_csv(path, figures.importance.table, figures.structure, plans)
