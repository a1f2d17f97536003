"""The points of a sweep: masks judged together, cuts made and judged one by one.

The models of cuts are let go. What is known of them is kept, first that they are cut, then how they
judge, so that a sweep that was stopped cuts nothing again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.artifacts.run_folder import KeyedRecord, RunFolder, short_digest
from globalprune.artifacts.staging import remove_folder
from globalprune.pipeline.cut_and_recover import cut_and_recover
from globalprune.pipeline.sweep_request import MODELS, PARTS, POINTS, SweepRequest
from globalprune.pipeline.texts import text_digests

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import TextRecord
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.plans.plan import PrunePlan


class CutPoint(KeyedRecord):
    """A cut model, and its figures once it was judged."""

    kind: ClassVar[str] = "cut"

    plan: str
    result: ModelResult | None = None
    kept: bool = False  # whether its model was to stay


def judge(request: SweepRequest, models: Sequence[str], plans: Sequence[Path]) -> "Comparison":
    """The figures, kept and found again in the folder."""
    from globalprune.evaluation.comparison import evaluate_models

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
    run: dict[str, Any],
) -> ModelResult:
    """Apply one plan, judge what comes out, and let it go; a point that is known is not cut.

    `run` is the identity of all cuts of a sweep.
    """
    points = RunFolder(request.out / POINTS)
    key = _key(request, plan, dense, repaired_on, run)
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
