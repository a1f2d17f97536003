"""Many plans of one model judged by the same text: as masks, or cut and compensated one by one.

A plan whose importance counts on compensation is applied with it, all others are masks. What was
finished in an earlier run is taken from the folder, so the same command goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.disk import way_from
from globalprune.artifacts.evaluations.sweep import Sweep, SweepPoint, UnreachedRatio
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.plans.plan_summary import recorded_doubt
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.pipeline.refusals import refuse_early
from globalprune.pipeline.sweep_lines import line_names
from globalprune.pipeline.sweep_points import cut_and_judge, forget_other_runs, judge
from globalprune.pipeline.sweep_request import MODELS, SweepRequest, mark

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import TextRecord
    from globalprune.artifacts.evaluations.evaluation import ModelResult
    from globalprune.artifacts.plans.plan import PrunePlan
    from globalprune.artifacts.structure import ModelStructure
    from globalprune.planning.write import WrittenPlan


def sweep(request: SweepRequest) -> Sweep:
    """Judge the model and every plan; what can be refused is refused before the work."""
    if not request.plans:
        raise UsageError("no plan to judge: name --analysis DIR, or --plan PLAN.")
    structure = structure_of(request.model)
    plans = {path: read_plan(path, structure) for path in request.plans}
    cut = {path: _is_cut(plan, request) for path, plan in plans.items()}
    masks = [path for path in plans if not cut[path]]
    repaired_on = _text_of_repairs(request, [path for path in plans if cut[path]])
    for doubt in dict.fromkeys(recorded_doubt(plan, path) for path, plan in plans.items()):
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
                plan=way_from(request.out, path),
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
