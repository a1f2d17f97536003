"""`gp apply`: cut a model by a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.apply.metrics_record import ApplyResult
    from globalprune.evaluate.comparison import Comparison


def apply(
    *,
    model: options.Model,
    plan: Annotated[
        Path,
        typer.Option(metavar="PLAN", help="The plan to apply: a .yaml file.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Folder for the smaller model; needed unless --explain is given.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what the same command would do, and write nothing."),
    ] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="SRC",
            help="Judge the model before and after by all of this text: a file or folder, a Hub "
            "data set id, or `builtin`. For a part of it, run gp eval instead.",
            show_default=False,
        ),
    ] = None,
    analysis: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The analysis behind the plan, whose record is kept in OUT.",
            show_default="the one that the plan names, if it is still there",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an OUT that gp apply wrote before.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a model by a plan, and write what is left as a model that loads like any other.

    The weights are copied shard by shard, so memory holds one shard and not the model. The result
    is opened again and compared with the plan before it takes its place; an error leaves nothing.

    Example:  gp apply MODEL --plan analysis/plan.yaml -o smaller --eval builtin
    """
    if explain:
        _explain(model, plan, out, analysis, overwrite=overwrite, as_json=as_json)
        return
    if out is None:
        raise UsageError("-o OUT is missing: name a folder for the smaller model, or --explain.")
    result, comparison = _apply(model, plan, out, evaluate, analysis, overwrite=overwrite)
    for warning in result.warnings:
        console.say(f"warning: {warning}")
    if as_json:
        console.print_json(result.model_dump(mode="json"))
    else:
        console.print_text(_summary(result))
    if comparison is not None:
        _show(comparison, table=not as_json)


def _explain(
    model: str,
    plan: Path,
    out: Path | None,
    analysis: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Print the steps, unless the run itself would be refused."""
    from globalprune.apply.executor import explain_plan

    explanation = explain_plan(model, plan, out, analysis=analysis, overwrite=overwrite)
    for warning in explanation.document["warnings"]:
        console.say(f"warning: {warning}")
    if as_json:
        console.print_json(explanation.document)
    else:
        console.print_text("\n".join(explanation.lines))


def _apply(
    model: str,
    plan: Path,
    out: Path,
    evaluate: str | None,
    analysis: Path | None,
    *,
    overwrite: bool,
) -> "tuple[ApplyResult, Comparison | None]":
    """Do it, with bars; judge before and after only if text is named."""
    import shlex
    import sys

    from globalprune.apply.executor import apply_plan
    from globalprune.pipeline.apply_and_eval import apply_and_evaluate

    command = shlex.join(["gp", *sys.argv[1:]])
    with console.progress_bars() as progress:
        if evaluate is not None:
            return apply_and_evaluate(
                model,
                plan,
                out,
                evaluate,
                analysis=analysis,
                overwrite=overwrite,
                command=command,
                progress=progress,
            )
        result = apply_plan(
            model,
            plan,
            out,
            analysis=analysis,
            overwrite=overwrite,
            command=command,
            progress=progress,
        )
        return result, None


def _summary(result: "ApplyResult") -> str:
    """Say what was made of what, and how it loads."""
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
    return (
        f"{result.out}: {after:,} of {before:,} parameters left ({cut})\n"
        f"removed groups: {removed}\n{form}"
    )


def _show(comparison: "Comparison", *, table: bool) -> None:
    """Print both models side by side, and what is doubtful about it."""
    from globalprune.cli.eval_table import render

    for result in comparison.models:
        for warning in result.warnings:
            console.say(f"warning: {result.source}: {warning}")
    if table:
        console.print_text("\n" + render(comparison))
