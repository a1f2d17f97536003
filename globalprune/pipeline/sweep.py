"""gp sweep: many plans of one model, each judged on the same windows."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.disk import relative_path, write_atomically
from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.artifacts.evaluations.sweep import Sweep, SweepPoint, UnreachedRatio
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.plans.plan_summary import recorded_warning
from globalprune.artifacts.records import Record
from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import remove_folder
from globalprune.errors import UsageError
from globalprune.pipeline.cut import cut_and_recover
from globalprune.pipeline.options import Cutting
from globalprune.pipeline.preflight import refuse_early, text_digests
from globalprune.printable import printable
from globalprune.progress import Progress, ignore_message, silent

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import TextRecord
    from globalprune.artifacts.evaluations.evaluation import Comparison, ModelResult
    from globalprune.artifacts.plans.plan import PrunePlan, Target
    from globalprune.artifacts.structure import ModelStructure
    from globalprune.planning.write import WrittenPlan


def line_names(
    plans: "Mapping[Path, PrunePlan]", compensated: Mapping[Path, bool]
) -> dict[Path, str]:
    """The name of every plan's line; plans that a person had a hand in stand alone."""
    tables = {plan.analysis.table for plan in plans.values() if plan.analysis is not None}
    names = {}
    for path, plan in plans.items():
        said = list(_words(path, plan, several_tables=len(tables) > 1))
        names[path] = ", ".join([*said, "compensated"] if compensated[path] else said)
    return names


def _words(path: Path, plan: "PrunePlan", *, several_tables: bool) -> Iterator[str]:
    """Yield what tells how a plan came about, but for how much it removes."""
    if plan.analysis is None:
        yield f"by hand ({path.stem})"
        return
    yield plan.analysis.importance
    if plan.analysis.normaliser is not None:
        yield plan.analysis.normaliser
    if several_tables:
        yield f"table {plan.analysis.table.partition(':')[2][:6]}"
    if plan.target is not None:
        yield from _target_words(plan.target)
    if plan.pin:
        yield "pinned"
    if not plan.remove_empty_layers:
        yield "empty layers stay"
    if plan.edited:
        yield f"edited ({path.stem})"


def _target_words(target: "Target") -> Iterator[str]:
    """Yield the strategy, the constraints, and budgets other than a ratio."""
    if target.strategy != "knapsack":
        yield target.strategy
    for name, value in target.constraints.said().items():
        yield name if value is True else f"{name} {value}"
    yield from (f"by {name}" for name in target.counted() if name != "ratio")
    if target.within:
        yield "nested"


PARTS: Final = "parts"  # judged models, as gp eval keeps them
POINTS: Final = "points"  # judged cuts, whose models are gone
MODELS: Final = "models"
_CUT: Final = "cut"  # what a point is saved as
PLANS: Final = "plans"
MARK: Final = "sweep.asked.json"  # shows that a folder is a sweep's, before there is a result


@dataclass(frozen=True)
class Judging:
    """By what text every point is judged; None is the default of gp eval."""

    data: str | None = None
    samples: int | None = None
    seq_len: int | None = None
    batch_size: int = 1


@dataclass(frozen=True)
class SweepRequest:
    """What is swept, and how; `compensation` None judges every plan as a mask."""

    model: str
    out: Path
    plans: tuple[Path, ...]
    judging: Judging = Judging()
    unreached: "tuple[WrittenPlan, ...]" = ()  # ratios that no plan reaches, told with the points
    compensation: CompensationRequest | None = None
    compensate_all: bool = False  # plans that don't count on it too
    keep_models: bool = False
    device: str | None = None
    dtype: str | None = None
    save_dtype: str | None = None  # of models that are cut
    command: Sequence[str] = ()
    warn: Callable[[str], None] = ignore_message
    progress: Progress = silent

    def cutting(self, out: Path) -> Cutting:
        """How a plan is applied into `out`, or gone on with."""
        return Cutting(
            self.model,
            out,
            device=self.device,
            dtype=self.dtype,
            compensation=self.compensation,
            save_dtype=self.save_dtype,
            overwrite=True,
            resume=True,
            command=self.command,
            warn=self.warn,
            progress=self.progress,
        )


def mark(out: Path, model: str, command: Sequence[str]) -> None:
    """Let the folder be known as a sweep's, should this one be stopped."""
    asked = {"model": printable(model), "command": list(map(printable, command))}
    write_atomically(out / MARK, json.dumps(asked, indent=2) + "\n")


class CutPoint(Record):
    """A cut model, and its figures once it was judged."""

    plan: str
    result: ModelResult | None = None
    kept: bool = False  # whether its model was to stay


def judge(request: SweepRequest, models: Sequence[str], plans: Sequence[Path]) -> "Comparison":
    """The figures, kept and found again in the folder."""
    from globalprune.evaluation.comparison import evaluate_models
    from globalprune.evaluation.options import EvaluationOptions
    from globalprune.text.source import BUILTIN

    judging = request.judging
    options = EvaluationOptions(
        judging.data or BUILTIN,
        seq_len=judging.seq_len,
        samples=judging.samples,
        batch_size=judging.batch_size,
        device=request.device,
        dtype=request.dtype,
        speed=None,
    )
    return evaluate_models(
        models,
        options,
        plans=plans,
        cache=request.out / PARTS,
        command=request.command,
        progress=request.progress,
    )


def cut_and_judge(
    request: SweepRequest,
    path: Path,
    plan: "PrunePlan",
    dense: "Comparison",
    repaired_on: "TextRecord",
    run: dict[str, Any],
) -> ModelResult:
    """Apply one plan, judge what comes out, and let it go; a point that is known is not cut.

    `run` is the identity of all cuts of a sweep.
    """
    key = _key(request, plan, dense, repaired_on, run)
    points = RunFolder(request.out / POINTS, key)
    model = request.out / MODELS / f"{path.stem}-{points.key_name}"
    point = points.load_record(_CUT, CutPoint)
    known = point.result if point else None
    missing = not model.is_dir() and (known is None or request.keep_models)
    if point is None or missing:
        cut_and_recover(request.cutting(model), path)
        point = points.save_record(_CUT, CutPoint(plan=str(path), result=known))
    if known is None:
        (result,) = judge(request, [str(model)], ()).models
    else:
        result = known.model_copy(update={"from_earlier_run": ("text",)})
    kept = point.kept or request.keep_models
    points.save_record(_CUT, point.model_copy(update={"result": result, "kept": kept}))
    if not kept:
        remove_folder(model)
    return result


def forget_other_runs(request: SweepRequest) -> None:
    """Remove what cuts of an earlier sweep left unfinished; those of this one are done by now."""
    for path in (request.out / MODELS).glob("*.unfinished"):
        RunFolder(path).remove()


def _key(
    request: SweepRequest,
    plan: "PrunePlan",
    dense: "Comparison",
    repaired_on: "TextRecord",
    run: dict[str, Any],
) -> dict[str, Any]:
    """All that the figures of a cut model depend on."""
    repaired = request.compensation.data if request.compensation else None
    return {
        **run,
        "windows": dense.text.digest,
        "batch_size": request.judging.batch_size,
        "plan": plan.decisions_digest(),
        "repaired_on": repaired_on.digest,
        "texts": text_digests([repaired]),
        "save_dtype": request.save_dtype,
    }


def sweep(request: SweepRequest) -> Sweep:
    """Judge the model and every plan; what can be refused is refused before the work."""
    if not request.plans:
        raise UsageError("no plan to judge: name --analysis DIR, or --plan PLAN.")
    structure = structure_of(request.model)
    plans = {path: read_plan(path, structure) for path in request.plans}
    cut = {path: _is_cut(plan, request) for path, plan in plans.items()}
    masks = [path for path in plans if not cut[path]]
    repaired_on = _text_of_repairs(request, [path for path in plans if cut[path]])
    for doubt in dict.fromkeys(recorded_warning(plan, path) for path, plan in plans.items()):
        if doubt is not None:
            request.warn(doubt)
    mark(request.out, request.model, request.command)
    judged = judge(request, [request.model], masks)
    dense, *masked = judged.models
    _warn_of_masks(request, {path: plans[path] for path in masks}, dense)
    results = dict(zip(masks, masked, strict=True))
    placed = replace(request, device=judged.device)
    run = placed.cutting(request.out).identity() if repaired_on is not None else {}
    for path, plan in plans.items():
        if repaired_on is not None and cut[path]:
            results[path] = cut_and_judge(placed, path, plan, judged, repaired_on, run)
    missed = {one.path: one.planned.plan for one in request.unreached}
    cut |= {path: _is_cut(plan, request) for path, plan in missed.items()}
    forget_other_runs(request)
    names = line_names(plans | missed, cut)
    return Sweep(
        dense=dense,
        points=tuple(
            SweepPoint(
                plan=relative_path(request.out, path),
                decisions=plan.decisions_digest(),
                line=names[path],
                removed=effect_of(plan, structure).ratio,
                compensated=cut[path],
                result=results[path],
            )
            for path, plan in plans.items()
        ),
        unreached=tuple(_unreached(one, names[one.path]) for one in request.unreached),
        compensation=request.compensation if repaired_on else None,
        repaired_on=repaired_on,
        text=judged.text,
        settings=judged.settings,
        device=judged.device,
        hardware=judged.hardware,
        versions=judged.versions,
        command=tuple(request.command),
    )


def _unreached(one: "WrittenPlan", line: str) -> UnreachedRatio:
    """What there is to say of a ratio that has no plan."""
    planned = one.planned
    asked = planned.plan.target.ratio if planned.plan.target else None
    met = " and ".join(planned.reachable_text(met) for met in planned.met if not met.reached)
    reason = f"can't be reached: {met} at most" if met else " ".join(planned.broken)
    return UnreachedRatio(
        line=line, asked=asked or 0.0, reachable=planned.effect.ratio, reason=reason
    )


def _is_cut(plan: "PrunePlan", request: SweepRequest) -> bool:
    """Whether a plan is applied with compensation."""
    if request.compensation is None:
        return False
    counts_on_it = plan.analysis is not None and plan.analysis.assumes == "compensation"
    return counts_on_it or request.compensate_all


def _text_of_repairs(request: SweepRequest, cut: Sequence[Path]) -> "TextRecord | None":
    """The text that cuts are repaired on, read and found fit; None where nothing is cut."""
    asked = request.compensation
    if not cut:
        if asked is not None and asked.data is not None:
            raise UsageError(
                "--data: is text to compensate with, and no plan here counts on that; say "
                "--compensate to cut and repair by every plan, or leave --data out."
            )
        return None
    from globalprune.models.checkpoints.open import open_checkpoint
    from globalprune.models.sources.source import resolve_model
    from globalprune.surgery.compensate import read_windows

    cutting = request.cutting(request.out / MODELS / "first")
    refuse_early(cutting, cut[0], None, None)
    compensation = cutting.compensated_in(RunFolder(None))
    if compensation is None:
        return None
    return read_windows(compensation, open_checkpoint(resolve_model(request.model))).record


def _warn_of_masks(
    request: SweepRequest, masks: "Mapping[Path, PrunePlan]", dense: "ModelResult"
) -> None:
    """Say which plans are judged without what they count on, or on another model than theirs."""
    for path, plan in masks.items():
        if plan.analysis is not None and plan.analysis.assumes == "compensation":
            request.warn(f"{path}: counts on compensation, and is judged without it.")
        made_for = plan.model
        if made_for is not None and made_for.weights not in (None, dense.weights):
            request.warn(
                f"{path}: was made for {made_for.source} (weights {made_for.weights}); "
                f"{request.model} has the same structure but other weights ({dense.weights})."
            )


def structure_of(model: str) -> "ModelStructure":
    """What there is to cut."""
    from globalprune.models.checkpoints.open import open_checkpoint
    from globalprune.models.registry import adapter_for
    from globalprune.models.sources.source import resolve_model

    checkpoint = open_checkpoint(resolve_model(model))
    return adapter_for(checkpoint.config).structure(checkpoint)
