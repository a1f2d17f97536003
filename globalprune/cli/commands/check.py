"""`gp check`: what a plan removes, whether it fits a model, and which runtimes load it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globalprune.cli import console, options
from globalprune.errors import PlanDoesNotFit, PlanInvalid, PlanStale, PlanVersion, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from globalprune.artifacts.plans.plan import Runtime
    from globalprune.artifacts.plans.plan_effect import PlanEffect
    from globalprune.artifacts.structure import ModelStructure, ModelTraits
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.planning.review import PlanReview
    from globalprune.surgery.prepare import PreparedCut


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
            help="Also check whether it fits this model, and in what form the result would be.",
            show_default=False,
        ),
    ] = None,
    analysis: options.AnalysisFolder = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="transformers|vllm|llama.cpp|any",
            help="Also check whether this program could load what is left.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Refresh the comment at the top of the plan after an edit."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a plan: show all its errors at once, or what it removes and what was edited by hand.

    Without a model and without its analysis only the plan's own rules are checked, and figures are
    unknown. Exit code 1: the plan is valid and doesn't fit; 2: it is not valid.

    Example:  gp check analysis/plan.yaml --model MODEL --write
    """
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.plan_text import review_document, review_lines
    from globalprune.planning.review import review_plan

    prepared_model = None if model is None else options.prunable_model(model)
    program = None if runtime is None else _read_runtime(runtime)
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
        with writer_lock(plan):
            _refresh(review)
        console.say(f"{plan}: the comment at its top was refreshed")
    for warning in review.warnings:
        console.note(warning)
    fit, prepared = (None, None) if prepared_model is None else _fit(prepared_model, review)
    loading = None
    if program is not None and (model is None or prepared is not None):
        loading = _loading(program, review, prepared)
    if as_json:
        loads = loading.document if loading else None
        console.print_json({**review_document(review), "fit": fit, "loading": loads})
    else:
        lines = [*review_lines(review), *_fit_lines(fit), *(loading.lines if loading else ())]
        console.print_text("\n".join(lines))
    if fit is not None and fit["problem"]:
        raise PlanDoesNotFit(fit["problem"])
    if loading is not None and loading.obstacles:
        raise PlanDoesNotFit(f"{plan}: what it leaves doesn't load in {loading.where}.")


def _fit(
    model: "PreparedModel", review: "PlanReview"
) -> "tuple[dict[str, Any], PreparedCut | None]":
    """Check a valid plan against a model, as `gp apply` would at first."""
    from globalprune.surgery.prepare import prepare_cut

    fit: dict[str, Any] = {"model": model.name, "problem": None}
    try:
        prepared = prepare_cut(model, review.document.file(model.structure))
    except (PlanStale, PlanInvalid) as error:
        return fit | {"problem": str(error)}, None
    warnings = (*filter(None, [prepared.promise.broken]), *prepared.warnings)
    for warning in warnings:
        if warning not in review.warnings:
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
    """Return lines that say that the plan fits, and how the result would load."""
    if fit is None or fit["problem"]:
        return []
    form = (
        f"the result carries the sizes of every layer and its modeling file ({fit['reason']})"
        if fit["uneven"]
        else "the result loads with transformers alone"
    )
    counts = f"{fit['parameters_before']:,} → {fit['parameters_after']:,} parameters"
    return [f"fits {fit['model']}: {counts}", fit["weights"], form]


def _refresh(review: "PlanReview") -> None:
    """Write the comment anew; all else in the file stays."""
    from globalprune.artifacts.plans.plan_file import refresh_header
    from globalprune.planning.summary import header_lines

    if review.figures is None:
        raise UsageError(
            f"{review.path}: --write needs the analysis, for its costs; name it with --analysis."
        )
    refresh_header(review.path, header_lines(review.plan, review.figures))


@dataclass(frozen=True)
class Loading:
    """Whether a runtime loads the cut model."""

    runtime: str
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]  # what to know if it does

    @property
    def where(self) -> str:
        """The runtime, in words."""
        return "every runtime, as a plain checkpoint" if self.runtime == "any" else self.runtime

    @property
    def lines(self) -> list[str]:
        """The answer for a person."""
        if self.obstacles:
            return [f"doesn't load in {self.where}: {one}" for one in self.obstacles]
        return [f"loads in {self.where}", *(f"  {note}" for note in self.notes)]

    @property
    def document(self) -> dict[str, Any]:
        """The answer for a program."""
        return {
            "runtime": self.runtime,
            "loads": not self.obstacles,
            "obstacles": list(self.obstacles),
            "notes": list(self.notes),
        }


def _read_runtime(name: str) -> "Runtime":
    """The runtime of that name; raise `UsageError` for an unknown one."""
    from globalprune.artifacts.plans.plan import RUNTIMES

    runtime = next((known for known in RUNTIMES if known == name), None)
    if runtime is None:
        raise UsageError(f"--for {name}: is not known; there are {', '.join(RUNTIMES)}.")
    return runtime


def _loading(runtime: "Runtime", review: "PlanReview", prepared: "PreparedCut | None") -> Loading:
    """Whether the runtime loads what the plan leaves of the model, or else of the analysed model.

    Raise `UsageError` where the traits of neither are known.
    """
    from globalprune.artifacts.plans.runtime_compatibility import obstacles

    figures = review.figures
    traits = figures.analysis.record.model.traits if figures else None
    if prepared is not None:
        from globalprune.models.configs.native_config import traits_of

        cut = (traits_of(prepared.checkpoint.config), prepared.structure, prepared.effect)
    elif figures is not None and traits is not None:
        cut = (traits, figures.structure, figures.effect)
    else:
        raise UsageError(f"--for {runtime}: nothing tells what the model is; name it with --model.")
    return Loading(runtime, tuple(obstacles(runtime, *cut)), tuple(_notes(runtime, *cut)))


def _notes(
    runtime: "Runtime", traits: "ModelTraits", structure: "ModelStructure", effect: "PlanEffect"
) -> "Iterator[str]":
    """Yield what to know where the runtime loads the cut model."""
    from globalprune.artifacts.plans.gguf_layout import gguf_shape
    from globalprune.artifacts.plans.runtime_compatibility import narrow_qwen2, vllm_notes

    if runtime in ("llama.cpp", "any"):
        yield from _unquantised(structure, effect)
    if runtime == "llama.cpp" and (shape := gguf_shape(traits, structure, effect)):
        yield from shape.padding_notes(traits.hidden_size)
    if runtime == "any":
        yield from narrow_qwen2(traits, structure, effect)
    if runtime == "vllm":
        yield from vllm_notes(traits, structure, effect)


def _unquantised(structure: "ModelStructure", effect: "PlanEffect") -> "Iterator[str]":
    """Yield the MLPs that can't be quantised, although those of the whole model can."""
    from globalprune.artifacts.plans.gguf_layout import QUANTISED_BLOCK
    from globalprune.artifacts.plans.index_set import IndexSet

    odd = [
        layer.layer_idx
        for layer in effect.kept_layers
        if len(layer.mlp) % QUANTISED_BLOCK
        and structure.layers[layer.layer_idx].mlp.groups % QUANTISED_BLOCK == 0
    ]
    if odd:
        yield (
            f"the MLP widths of layers {IndexSet.of(odd)} are no multiples of {QUANTISED_BLOCK}, "
            "so that their down projections can't be quantised; plan with --for llama.cpp."
        )
