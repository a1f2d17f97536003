"""The points of a sweep: masks judged together, cuts made and judged one by one.

The models of cuts are let go. What is known of them is kept, first that they are cut, then how they
judge, so that a sweep that was stopped cuts nothing again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from globalprune.artifacts.disk import remove_folder, write_atomically
from globalprune.artifacts.evaluations.evaluation_record import ModelResult
from globalprune.artifacts.provenance import digest_json
from globalprune.artifacts.record import Record
from globalprune.pipeline.cut_and_recover import cut_and_recover
from globalprune.pipeline.sweep_request import MODELS, PARTS, POINTS, SweepRequest

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation_record import Comparison
    from globalprune.artifacts.plans.prune_plan import PrunePlan

_NAME_DIGITS = 12


class CutPoint(Record):
    """A cut model, and its figures once it was judged."""

    plan: str
    key: dict[str, Any]  # all that the figures depend on
    result: ModelResult | None = None


class CutPoints:
    """A folder of them, a file each, named by a digest of the key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self, key: dict[str, Any]) -> str:
        """A name for what belongs to that key."""
        return digest_json(key).partition(":")[2][:_NAME_DIGITS]

    def find(self, key: dict[str, Any]) -> CutPoint | None:
        """What is known; a file that can't be read says nothing."""
        path = self._path(key)
        try:
            return CutPoint.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError:
            return None

    def keep(self, point: CutPoint) -> None:
        """Write the point whole or not at all."""
        write_atomically(self._path(point.key), point.model_dump_json(indent=2) + "\n")

    def _path(self, key: dict[str, Any]) -> Path:
        return self._folder / f"{self.name(key)}.json"


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
    request: SweepRequest, path: Path, plan: "PrunePlan", dense: "Comparison"
) -> ModelResult:
    """Apply one plan, judge what comes out, and let it go; a point that is known is not cut."""
    points = CutPoints(request.out / POINTS)
    key = _key(request, plan, dense)
    point = points.find(key)
    if point is not None and point.result is not None:
        return point.result
    model = request.out / MODELS / f"{path.stem}-{points.name(key)}"
    if point is None or not model.is_dir():
        cut_and_recover(request.cutting(model), path)
        points.keep(CutPoint(plan=str(path), key=key))
    (result,) = judge(request, [str(model)], ()).models
    points.keep(CutPoint(plan=str(path), key=key, result=result))
    if not request.keep_models:
        remove_folder(model)
    return result


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
