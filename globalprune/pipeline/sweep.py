"""gp sweep: many plans of one model, each evaluated on the same windows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.artifacts.disk import (
    refuse_inside_model,
    refuse_occupied,
    relative_path,
    write_atomically,
)
from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.artifacts.evaluations.sweep import SWEEP_FILE, Sweep, SweepPoint, UnreachedRatio
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import PlanFile, read_plan, read_plan_file
from globalprune.artifacts.plans.plan_summary import recorded_warning
from globalprune.artifacts.records import Record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import remove_folder
from globalprune.errors import UsageError
from globalprune.options import DEFAULT_RATIOS, ApplyOptions, PlanOptions, SweepOptions
from globalprune.pipeline.apply import CutJob, check_cut, run_identity, run_stages
from globalprune.pipeline.preflight import Texts, text_digests
from globalprune.planning.planner import PlanResult
from globalprune.planning.write import write_plans
from globalprune.printable import printable
from globalprune.progress import SILENT, Reporter

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.plans.plan import PrunePlan, Target
    from globalprune.evaluation.windows import EvaluationText
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.text.windows import TokenWindows

PARTS: Final = "parts"  # evaluated models, as gp eval keeps them
POINTS: Final = "points"  # evaluated cuts, whose models are gone
MODELS: Final = "models"
_CUT: Final = "cut"  # what a point is saved as
PLANS: Final = "plans"
MARK: Final = "sweep.asked.json"  # shows that a folder is a sweep's, before there is a result


class CutPoint(Record):
    """A cut model, and its figures once it is evaluated."""

    plan: str
    result: ModelResult | None = None
    kept: bool = False  # whether its model stays


def plan_sweep(
    model: "PreparedModel", out: Path, options: SweepOptions, *, reporter: Reporter = SILENT
) -> tuple[PlanResult, ...]:
    """Write a plan for every importance and every ratio; without an analysis there are none.

    A ratio that can't be reached is returned but not written. Raise `UsageError` for a place that
    isn't a sweep's, and for an analysis of another structure.
    """
    refuse_occupied(out, ours=(SWEEP_FILE, MARK), overwrite=True)
    refuse_inside_model(out, Path(model.name).expanduser())
    if options.analysis is None:
        if options.ratios or options.importances:
            raise UsageError("--ratio and --importance: plan from an analysis; name --analysis.")
        return ()
    analysis = read_analysis(options.analysis)
    if model.structure.fingerprint != analysis.record.structure.fingerprint:
        raise UsageError(
            f"--analysis {options.analysis}: is of {analysis.record.model.source}, whose structure "
            f"is another than that of {model.name}; analyze that one."
        )
    _mark(out, model.name, reporter.command)
    _forget_old_plans(out / PLANS)
    importances = options.importances or (analysis.record.default_importance,)
    return tuple(
        written
        for name in dict.fromkeys(importances)
        for written in write_plans(
            analysis,
            PlanOptions(
                options.ratios or DEFAULT_RATIOS,
                importance=name,
                overwrite=options.overwrite,
                largest=options.largest,
            ),
            out / PLANS / name,
        )
    )


def sweep_plans(
    model: "PreparedModel",
    out: Path,
    options: SweepOptions,
    planned: Sequence[PlanResult] = (),
    *,
    reporter: Reporter = SILENT,
) -> Sweep:
    """Evaluate the model and every plan; raise for a bad option or plan before the work."""
    from globalprune.evaluation.windows import EvaluationText

    paths = [*(one.path for one in planned if one.written), *options.plans]
    if not paths:
        raise UsageError("no plan to evaluate: name --analysis DIR, or --plan PLAN.")
    files = {path: read_plan_file(path, model.structure) for path in paths}
    text = EvaluationText(options.evaluate, reporter.progress)
    run = _Run(model, out, options, text, reporter)
    cut = {path: _is_cut(file.plan, options) for path, file in files.items()}
    job = run.checked([file for path, file in files.items() if cut[path]])
    doubts = (recorded_warning(file.plan, path) for path, file in files.items())
    for doubt in dict.fromkeys(filter(None, doubts)):
        reporter.warn(doubt)
    _mark(out, model.name, reporter.command)
    masks = [file for path, file in files.items() if not cut[path]]
    evaluated = evaluate_in(run, [model], masks)
    dense, *masked = evaluated.models
    _warn_of_masks(run, masks, dense)
    results = dict(zip((file.path for file in masks), masked, strict=True))
    if job is not None:
        results |= _cut_results(replace(run, device=evaluated.device), job, evaluated, files, cut)
    _forget_other_runs(out)
    return _sweep_of(run, evaluated, files, cut, results, job, planned)


@dataclass(frozen=True)
class _Run:
    """What every point of a sweep shares."""

    model: "PreparedModel"
    out: Path
    options: SweepOptions
    text: "EvaluationText"
    reporter: Reporter
    device: str | None = None  # that the first evaluation chose

    @property
    def applying(self) -> ApplyOptions:
        """How a plan is applied, or its application resumed."""
        evaluating = self.options.evaluate
        return ApplyOptions(
            compensation=self.options.compensation,
            device=self.device or evaluating.device,
            dtype=evaluating.dtype,
            save_dtype=self.options.save_dtype,
            overwrite=True,
            resume=True,
        )

    def checked(self, cuts: Sequence[PlanFile]) -> CutJob | None:
        """Check the first cut, and read the text that all are compensated on; None without cuts."""
        compensation = self.options.compensation
        if cuts:
            place = self.out / MODELS / "first"
            return check_cut(self.model, cuts[0], place, self.applying, reporter=self.reporter)
        if compensation is not None and compensation.data is not None:
            raise UsageError(
                "--data: is text to compensate with, and no plan here counts on that; say "
                "--compensate to cut and compensate by every plan, or leave --data out."
            )
        return None


def evaluate_in(
    run: _Run, models: "Sequence[PreparedModel]", masks: Sequence[PlanFile] = ()
) -> "Comparison":
    """Evaluate models, and the first of them with masks; the sweep's folder caches the results."""
    from globalprune.evaluation.comparison import evaluate_models

    return evaluate_models(
        models,
        run.options.evaluate,
        plans=masks,
        text=run.text,
        cache=run.out / PARTS,
        reporter=run.reporter,
    )


def _cut_results(
    run: _Run,
    first: CutJob,
    dense: "Comparison",
    files: Mapping[Path, PlanFile],
    cut: Mapping[Path, bool],
) -> dict[Path, ModelResult]:
    """Return the results of every plan that is cut; `first` is the cut that was checked."""
    identity = run_identity(run.model, run.applying, run.reporter.progress)
    windows = first.texts.compensation
    if windows is None:
        raise ValueError("a cut of a sweep is compensated")
    results = {}
    for path, file in files.items():
        if cut[path]:
            key = _key(run, file.plan, dense, windows, identity)
            job = first if file.path == first.prepared.file.path else None
            results[path] = _cut_result(run, file, key, windows, job)
    return results


def _cut_result(
    run: _Run,
    file: PlanFile,
    key: dict[str, Any],
    windows: "TokenWindows",
    job: CutJob | None,
) -> ModelResult:
    """Cut the model by one plan, evaluate the result and remove it, unless its result is known."""
    from globalprune.models.prepared_model import PreparedModel

    points = RunFolder(run.out / POINTS, key)
    folder = run.out / MODELS / f"{file.path.stem}-{points.key_name}"
    point = points.load_record(_CUT, CutPoint)
    known = point.result if point else None
    missing = not folder.is_dir() and (known is None or run.options.keep_models)
    if point is None or missing:
        if job is None:
            texts = Texts(compensation=windows)
            job = check_cut(run.model, file, folder, run.applying, texts, reporter=run.reporter)
        run_stages(replace(job, out=folder), reporter=run.reporter)
        point = points.save_record(_CUT, CutPoint(plan=str(file.path), result=known))
    if known is None:
        (result,) = evaluate_in(run, [PreparedModel(folder)]).models
    else:
        result = known.model_copy(update={"from_earlier_run": ("text",)})
    kept = point.kept or run.options.keep_models
    points.save_record(_CUT, point.model_copy(update={"result": result, "kept": kept}))
    if not kept:
        remove_folder(folder)
    return result


def _key(
    run: _Run,
    plan: "PrunePlan",
    dense: "Comparison",
    windows: "TokenWindows",
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Return all that the figures of a cut model depend on."""
    compensation = run.options.compensation
    return {
        **identity,
        "windows": dense.text.digest,
        "batch_size": run.options.evaluate.batch_size,
        "plan": plan.decisions_digest(),
        "repaired_on": windows.record.digest,
        "texts": text_digests([compensation.data if compensation else None]),
        "save_dtype": run.options.save_dtype,
    }


def _sweep_of(
    run: _Run,
    evaluated: "Comparison",
    files: Mapping[Path, PlanFile],
    cut: Mapping[Path, bool],
    results: Mapping[Path, ModelResult],
    job: CutJob | None,
    planned: Sequence[PlanResult],
) -> Sweep:
    """Return the record of all points."""
    unreached = {one.path: one for one in planned if not one.written}
    plans = {path: file.plan for path, file in files.items()}
    every = plans | {path: one.plan for path, one in unreached.items()}
    compensated = {path: _is_cut(plan, run.options) for path, plan in every.items()}
    names = line_names(every, compensated)
    windows = job.texts.compensation if job else None
    return Sweep(
        dense=evaluated.models[0],
        points=tuple(
            SweepPoint(
                plan=relative_path(run.out, path),
                decisions=plan.decisions_digest(),
                line=names[path],
                removed=effect_of(plan, run.model.structure).ratio,
                compensated=cut[path],
                result=results[path],
            )
            for path, plan in plans.items()
        ),
        unreached=tuple(_unreached(one, names[path]) for path, one in unreached.items()),
        compensation=run.options.compensation if windows else None,
        repaired_on=windows.record if windows else None,
        text=evaluated.text,
        settings=evaluated.settings,
        device=evaluated.device,
        hardware=evaluated.hardware,
        versions=evaluated.versions,
        command=run.reporter.command,
    )


def _unreached(one: PlanResult, line: str) -> UnreachedRatio:
    """Return the record of a ratio that has no plan."""
    ratio = one.plan.target.ratio if one.plan.target else None
    reachable = one.reachable_text
    reason = f"can't be reached: {reachable} at most" if reachable else " ".join(one.violations)
    return UnreachedRatio(line=line, asked=ratio or 0.0, reachable=one.effect.ratio, reason=reason)


def _is_cut(plan: "PrunePlan", options: SweepOptions) -> bool:
    """Whether a plan is applied with compensation."""
    if options.compensation is None:
        return False
    counts_on_it = plan.analysis is not None and plan.analysis.assumes == "compensation"
    return counts_on_it or options.compensate_all


def _warn_of_masks(run: _Run, masks: Sequence[PlanFile], dense: ModelResult) -> None:
    """Warn of plans whose compensation a mask leaves out, and of plans for other weights."""
    for file in masks:
        plan, path = file.plan, file.path
        if plan.analysis is not None and plan.analysis.assumes == "compensation":
            run.reporter.warn(f"{path}: counts on compensation, and is evaluated without it.")
        made_for = plan.model
        if made_for is not None and made_for.weights not in (None, dense.weights):
            run.reporter.warn(
                f"{path}: was made for {made_for.source} (weights {made_for.weights}); "
                f"{run.model.name} has the same structure but other weights ({dense.weights})."
            )


def _mark(out: Path, model: str, command: Sequence[str]) -> None:
    """Mark the folder as a sweep's, so that an interrupted sweep can continue in it."""
    request = {"model": printable(model), "command": list(map(printable, command))}
    write_atomically(out / MARK, json.dumps(request, indent=2) + "\n")


def _forget_old_plans(folder: Path) -> None:
    """Remove plans that were not edited; their pins would outlive those of the analysis."""
    for path in folder.glob("*/plan-*.yaml"):
        if not read_plan(path).edited:
            path.unlink()


def _forget_other_runs(out: Path) -> None:
    """Remove unfinished cuts of earlier sweeps; those of this one are done by now."""
    for path in (out / MODELS).glob("*.unfinished"):
        RunFolder(path).remove()


def line_names(
    plans: "Mapping[Path, PrunePlan]", compensated: Mapping[Path, bool]
) -> dict[Path, str]:
    """Return the name of every plan's line; a plan by hand or with edits has a line of its own."""
    tables = {plan.analysis.table for plan in plans.values() if plan.analysis is not None}
    names = {}
    for path, plan in plans.items():
        parts = list(_name_parts(path, plan, several_tables=len(tables) > 1))
        names[path] = ", ".join([*parts, "compensated"] if compensated[path] else parts)
    return names


def _name_parts(path: Path, plan: "PrunePlan", *, several_tables: bool) -> Iterator[str]:
    """Yield how a plan was made, except for how much it removes."""
    if plan.analysis is None:
        yield f"by hand ({path.stem})"
        return
    yield plan.analysis.importance
    if plan.analysis.normaliser is not None:
        yield plan.analysis.normaliser
    if several_tables:
        yield f"table {plan.analysis.table.partition(':')[2][:6]}"
    if plan.target is not None:
        yield from _target_parts(plan.target)
    if plan.pin:
        yield "pinned"
    if not plan.remove_empty_layers:
        yield "empty layers stay"
    if plan.edited:
        yield f"edited ({path.stem})"


def _target_parts(target: "Target") -> Iterator[str]:
    """Yield the strategy, the constraints, and budgets other than a ratio."""
    if target.strategy != "knapsack":
        yield target.strategy
    for name, value in target.constraints.explicit().items():
        yield name if value is True else f"{name} {value}"
    yield from (f"by {name}" for name in target.amounts() if name != "ratio")
    if target.within:
        yield "nested"
