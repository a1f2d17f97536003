"""Many plans of one model judged by the same text: as masks, or cut and compensated one by one.

A plan whose importance counts on compensation is applied with it, all others are masks. What was
finished in an earlier run is taken from the folder, so the same command goes on where it stopped.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.evaluations.sweep_record import Sweep, SweepPoint
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import UsageError
from globalprune.pipeline.refusals import refuse_early
from globalprune.pipeline.sweep_points import cut_and_judge, judge
from globalprune.pipeline.sweep_request import MODELS, SweepRequest

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation_record import ModelResult
    from globalprune.artifacts.groups import ModelStructure
    from globalprune.artifacts.plans.prune_plan import PrunePlan


def sweep(request: SweepRequest) -> Sweep:
    """Judge the model and every plan; what can be refused is refused before the work."""
    if not request.plans:
        raise UsageError("no plan to judge: name --analysis DIR, or --plan PLAN.")
    structure = _structure_of(request.model)
    plans = {path: read_plan(path, structure) for path in request.plans}
    cut = [path for path, plan in plans.items() if _is_cut(plan, request)]
    masks = [path for path in plans if path not in cut]
    if cut:
        refuse_early(request.cutting(request.out / MODELS / "first"), cut[0], None, None)
    _warn_of_masks(request, {path: plans[path] for path in masks})
    judged = judge(request, [request.model], masks)
    dense, *masked = judged.models
    results = dict(zip(masks, masked, strict=True))
    for path in cut:
        results[path] = cut_and_judge(request, path, plans[path], judged)
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


def _warn_of_masks(request: SweepRequest, masks: "Mapping[Path, PrunePlan]") -> None:
    """Say which plans are judged without what they count on."""
    for path, plan in masks.items():
        if plan.analysis is not None and plan.analysis.assumes == "compensation":
            request.warn(f"{path}: counts on compensation, and is judged without it.")


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
