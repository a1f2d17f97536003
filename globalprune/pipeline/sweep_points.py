"""The points of a sweep: masks judged together, cuts made and judged one by one.

The models of cuts are let go. What is known of them is kept, first that they are cut, then how they
judge, so that a sweep that was stopped cuts nothing again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from globalprune.artifacts.evaluations.evaluation_record import ModelResult
from globalprune.artifacts.keyed_records import KeyedRecord, KeyedRecords, short_digest
from globalprune.artifacts.staging import remove_folder
from globalprune.pipeline.cut_and_recover import cut_and_recover
from globalprune.pipeline.sweep_request import MODELS, PARTS, POINTS, SweepRequest

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis_record import TextRecord
    from globalprune.artifacts.evaluations.evaluation_record import Comparison
    from globalprune.artifacts.plans.prune_plan import PrunePlan


class CutPoint(KeyedRecord):
    """A cut model, and its figures once it was judged."""

    kind: ClassVar[str] = "cut"

    plan: str
    result: ModelResult | None = None
    kept: bool = False  # whether its model was to stay


def judge(request: SweepRequest, models: Sequence[str], plans: Sequence[Path]) -> "Comparison":
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


def cut_and_judge(
    request: SweepRequest,
    path: Path,
    plan: "PrunePlan",
    dense: "Comparison",
    repaired_on: "TextRecord",
) -> ModelResult:
    """Apply one plan, judge what comes out, and let it go; a point that is known is not cut."""
    points = KeyedRecords(request.out / POINTS)
    key = _key(request, plan, dense, repaired_on)
    model = request.out / MODELS / f"{path.stem}-{short_digest(key)}"
    point = points.find(CutPoint, key)
    known = point.result if point else None
    missing = not model.is_dir() and (known is None or request.keep_models)
    if point is None or missing:
        cut_and_recover(request.cutting(model), path)
        point = points.keep(CutPoint(key=key, plan=str(path), result=known))
    if known is None:
        (result,) = judge(request, [str(model)], ()).models
    else:
        result = known.model_copy(update={"from_earlier_run": ("text",)})
    kept = point.kept or request.keep_models
    points.keep(point.model_copy(update={"result": result, "kept": kept}))
    if not kept:
        remove_folder(model)
    return result


def _key(
    request: SweepRequest, plan: "PrunePlan", dense: "Comparison", repaired_on: "TextRecord"
) -> dict[str, Any]:
    """All that the figures of a cut model depend on."""
    asked = request.compensation
    return {
        "weights": dense.models[0].weights,
        "windows": dense.text.digest,
        "plan": plan.decisions_digest(),
        "compensation": None if asked is None else asked.model_dump(mode="json"),
        "repaired_on": repaired_on.digest,
        "device": dense.device,
        "dtype": request.dtype,
        "versions": dense.versions,
    }
