"""Many plans of one model judged by the same text: as masks, or cut and compensated one by one.

A plan whose importance counts on compensation is applied with it, all others are masks. What was
finished in an earlier run is taken from the folder, so the same command goes on where it stopped.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.compensation_request import CompensationRequest
from globalprune.artifacts.disk import remove_folder
from globalprune.artifacts.plan_effect import effect_of
from globalprune.artifacts.plan_file import read_plan
from globalprune.artifacts.sweep_record import Sweep, SweepPoint
from globalprune.errors import UsageError
from globalprune.pipeline.cut_and_recover import cut_and_recover
from globalprune.pipeline.cutting import Cutting
from globalprune.pipeline.refusals import refuse_early
from globalprune.pipeline.sweep_points import CutPoint, CutPoints
from globalprune.progress import Progress, silent, tell_nobody

if TYPE_CHECKING:
    from globalprune.artifacts.evaluation_record import Comparison, ModelResult
    from globalprune.artifacts.groups import ModelStructure
    from globalprune.artifacts.prune_plan import PrunePlan

PARTS: Final = "parts"  # judged models, as gp eval keeps them
POINTS: Final = "points"  # judged cuts, whose models are gone
MODELS: Final = "models"
PLANS: Final = "plans"


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
    compensation: CompensationRequest | None = None
    compensate_all: bool = False  # plans that don't count on it too
    keep_models: bool = False
    device: str | None = None
    dtype: str | None = None
    command: str = ""
    warn: Callable[[str], None] = tell_nobody
    progress: Progress = silent


def sweep(request: SweepRequest) -> Sweep:
    """Judge the model and every plan; what can be refused is refused before the work."""
    if not request.plans:
        raise UsageError("no plan to judge: name --analysis DIR, or --plan PLAN.")
    structure = _structure_of(request.model)
    plans = {path: read_plan(path, structure) for path in request.plans}
    cut = [path for path, plan in plans.items() if _is_cut(plan, request)]
    masks = [path for path in plans if path not in cut]
    if cut:
        refuse_early(_cutting(request, request.out / MODELS / "first"), cut[0], None, None)
    _warn_of_masks(request, {path: plans[path] for path in masks})
    judged = _judge(request, [request.model], masks)
    dense, *masked = judged.models
    results = dict(zip(masks, masked, strict=True))
    points = CutPoints(request.out / POINTS)
    for path in cut:
        results[path] = _cut_and_judge(request, path, plans[path], judged, points)
    return Sweep(
        dense=dense,
        points=tuple(
            _point(request, path, plan, structure, results[path], compensated=path in cut)
            for path, plan in plans.items()
        ),
        compensation=request.compensation if cut else None,
        text=judged.text,
        settings=judged.settings,
        device=judged.device,
        hardware=judged.hardware,
        versions=judged.versions,
        command=request.command,
    )


def _is_cut(plan: "PrunePlan", request: SweepRequest) -> bool:
    """Whether a plan is applied with compensation."""
    if request.compensation is None:
        return False
    counts_on_it = plan.analysis is not None and plan.analysis.assumes == "compensation"
    return counts_on_it or request.compensate_all


def _judge(request: SweepRequest, models: Sequence[str], plans: Sequence[Path]) -> "Comparison":
    """The figures, kept and found again in the folder."""
    from globalprune.evaluate.comparison import evaluate_models

    judging = request.judging
    return evaluate_models(
        models,
        judging.data,
        plans=plans,
        seq_len=judging.seq_len,
        samples=judging.samples,
        batch_size=judging.batch_size,
        device=request.device,
        dtype=request.dtype,
        speed=None,
        parts=request.out / PARTS,
        command=request.command,
        progress=request.progress,
    )


def _cut_and_judge(
    request: SweepRequest, path: Path, plan: "PrunePlan", dense: "Comparison", points: CutPoints
) -> "ModelResult":
    """Apply one plan, judge what comes out, and let it go; a point that is known is not cut."""
    key = _key(request, plan, dense)
    point = points.find(key)
    if point is not None and point.result is not None:
        return point.result
    model = request.out / MODELS / f"{path.stem}-{points.name(key)}"
    if point is None or not model.is_dir():
        cut_and_recover(_cutting(request, model), path)
        points.keep(CutPoint(plan=str(path), key=key))
    (result,) = _judge(request, [str(model)], ()).models
    points.keep(CutPoint(plan=str(path), key=key, result=result))
    if not request.keep_models:
        remove_folder(model)
    return result


def _cutting(request: SweepRequest, model: Path) -> Cutting:
    """How a plan is applied."""
    return Cutting(
        request.model,
        model,
        device=request.device,
        dtype=request.dtype,
        compensation=request.compensation,
        overwrite=True,
        resume=True,
        command=request.command,
        warn=request.warn,
        progress=request.progress,
    )


def _warn_of_masks(request: SweepRequest, masks: "Mapping[Path, PrunePlan]") -> None:
    """Say which plans are judged without what they count on."""
    for path, plan in masks.items():
        if plan.analysis is not None and plan.analysis.assumes == "compensation":
            request.warn(f"{path}: counts on compensation, and is judged without it.")


def _key(request: SweepRequest, plan: "PrunePlan", dense: "Comparison") -> dict[str, Any]:
    """All that the figures of a cut model depend on."""
    asked = request.compensation
    return {
        "weights": dense.models[0].weights,
        "windows": dense.text.digest,
        "plan": plan.decisions_digest(),
        "compensation": None if asked is None else asked.model_dump(mode="json"),
        "device": dense.device,
        "dtype": request.dtype,
        "versions": dense.versions,
    }


def _point(
    request: SweepRequest,
    path: Path,
    plan: "PrunePlan",
    structure: "ModelStructure",
    result: "ModelResult",
    *,
    compensated: bool,
) -> SweepPoint:
    """The result with what the plan says of itself."""
    return SweepPoint(
        plan=_seen_from(path, request.out),
        decisions=plan.decisions_digest(),
        line=line_of(plan, compensated=compensated),
        removed=effect_of(plan, structure).ratio,
        compensated=compensated,
        result=result,
    )


def line_of(plan: "PrunePlan", *, compensated: bool) -> str:
    """How a plan came about, but for how much it removes: the name of a curve's line."""
    said: list[str] = ["by hand" if plan.analysis is None else plan.analysis.importance]
    if plan.analysis is not None and plan.analysis.normaliser is not None:
        said.append(plan.analysis.normaliser)
    if plan.target is not None:
        said += [plan.target.strategy] if plan.target.strategy != "knapsack" else []
        said += [
            name if value is True else f"{name} {value}"
            for name, value in plan.target.constraints.said().items()
        ]
    said += ["edited"] if plan.edited and plan.generated is not None else []
    said += ["compensated"] if compensated else []
    return ", ".join(said)


def _seen_from(path: Path, folder: Path) -> str:
    """The way to a plan from the folder of the sweep."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _structure_of(model: str) -> "ModelStructure":
    """What there is to cut."""
    from globalprune.models.opening import open_checkpoint
    from globalprune.models.registry import adapter_for
    from globalprune.models.source import resolve_model

    checkpoint = open_checkpoint(resolve_model(model))
    return adapter_for(checkpoint.config).structure(checkpoint)
