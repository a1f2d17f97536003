"""`gp check`: what a plan removes, what a person changed, and whether it fits."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globalprune.cli import console, model_arguments, options
from globalprune.errors import PlanDoesNotFit, PlanInvalid, PlanStale, PlanVersion, UsageError

if TYPE_CHECKING:
    from globalprune.planning.review import Review
    from globalprune.surgery.prepare import Prepared


def check(
    *,
    plan: Annotated[
        Path,
        typer.Argument(metavar="PLAN", help="The plan: a .yaml file.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Also say whether it fits this model, and in what form the result would be.",
            show_default=False,
            callback=model_arguments.refuse_uncuttable,
        ),
    ] = None,
    analysis: options.AnalysisFolder = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="transformers|vllm|llama.cpp|any",
            help="Also say whether this program could load what is left.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Refresh the comment at the top of the plan after an edit."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a plan: all its errors at once, or what it removes and what was edited by hand.

    Without a model and without its analysis only the plan's own rules are checked, and the rest is
    said to be unknown. Exit code 1: the plan is valid and doesn't fit; 2: it is not valid.

    Example:  gp check analysis/plan.yaml --model MODEL --write
    """
    from globalprune.artifacts.writer_lock import one_writer
    from globalprune.cli.check_runtime import loading_in, runtime_named
    from globalprune.cli.check_text import document_of, review_lines
    from globalprune.planning.review import review_plan

    target = None if runtime is None else runtime_named(runtime)
    try:
        review = review_plan(plan, analysis)
    except PlanStale as error:  # the plan is valid, and --analysis is of another structure
        raise PlanDoesNotFit(str(error)) from error
    except (PlanInvalid, PlanVersion) as error:
        if as_json:
            problems = list(error.problems) if isinstance(error, PlanInvalid) else [str(error)]
            console.print_json({"plan": str(plan), "valid": False, "problems": problems})
        raise
    if write:
        with one_writer(plan):
            _refresh(review)
        console.say(f"{plan}: the comment at its top was refreshed")
    for note in review.notes:
        console.note(note)
    fit, prepared = (None, None) if model is None else _fit(model, review)
    loading = None
    if target is not None and (model is None or prepared is not None):
        loading = loading_in(target, review, prepared)
    if as_json:
        loads = loading.document if loading else None
        console.print_json({**document_of(review), "fit": fit, "loading": loads})
    else:
        lines = [*review_lines(review), *_fit_lines(fit), *(loading.lines if loading else ())]
        console.print_text("\n".join(lines))
    if fit is not None and fit["problem"]:
        raise PlanDoesNotFit(fit["problem"])
    if loading is not None and loading.obstacles:
        raise PlanDoesNotFit(f"{plan}: what it leaves doesn't load in {loading.where}.")


def _fit(model: str, review: "Review") -> "tuple[dict[str, Any], Prepared | None]":
    """Hold a plan that is valid in itself against a model, as `gp apply` would at first."""
    from globalprune.surgery.prepare import prepare

    fit: dict[str, Any] = {"model": model, "problem": None}
    try:
        prepared = prepare(model, review.path)
    except (PlanStale, PlanInvalid) as error:
        return fit | {"problem": str(error)}, None
    warnings = (*filter(None, [prepared.promise.broken]), *prepared.warnings)
    for warning in warnings:
        if warning not in review.notes:
            console.warn(warning)
    return fit | {
        "parameters_before": prepared.effect.parameters_before,
        "parameters_after": prepared.effect.parameters_after,
        "uneven": prepared.edit.uneven,
        "reason": prepared.edit.reason,
        **asdict(prepared.files),
        "weights": prepared.files.text,
        "warnings": warnings,
    }, prepared


def _fit_lines(fit: dict[str, Any] | None) -> list[str]:
    """Say that it fits, and how the result would load."""
    if fit is None or fit["problem"]:
        return []
    form = (
        f"the result carries the sizes of every layer and its modeling file ({fit['reason']})"
        if fit["uneven"]
        else "the result loads with transformers alone"
    )
    counts = f"{fit['parameters_before']:,} → {fit['parameters_after']:,} parameters"
    return [f"fits {fit['model']}: {counts}", fit["weights"], form]


def _refresh(review: "Review") -> None:
    """Write the comment anew; all else in the file stays."""
    from globalprune.artifacts.plans.plan_file import refresh_header
    from globalprune.planning.summary import header_of

    known = review.known
    if known is None:
        raise UsageError(
            f"{review.path}: --write needs the analysis, for its costs; name it with --analysis."
        )
    scoring = known.worth.scoring
    parts = (review.plan, known.structure, known.effect, scoring, known.optimality, known.doubt)
    header = header_of(*parts, known.analysis.record.model.storage)
    refresh_header(review.path, header)
