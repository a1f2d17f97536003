"""`gp apply --finetune --eval`: cut, let recover, and judge every state by the same text.

What can be refused is refused first, and the text is read and the model judged before anything is
written. The model as it was cut lies in OUT.unfinished until the finetuned one is whole.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globalprune.artifacts.metrics_record import METRICS_FILE, ApplyMetrics, ApplyResult
from globalprune.artifacts.plan_file import read_plan
from globalprune.artifacts.provenance import OWN_FOLDER
from globalprune.artifacts.unfinished import UnfinishedWork
from globalprune.pipeline.cutting import Cutting
from globalprune.pipeline.judging import judged, keep
from globalprune.pipeline.recovery import Recovery, refuse_absent_text

if TYPE_CHECKING:
    from globalprune.artifacts.evaluation_record import Comparison
    from globalprune.artifacts.recovery_record import RecoveryRun


@dataclass(frozen=True)
class Outcome:
    """What came of it; None is a phase that was not asked for."""

    result: ApplyResult
    run: "RecoveryRun | None" = None
    evaluation: "Comparison | None" = None

    @property
    def document(self) -> dict[str, Any]:
        """The whole as JSON has it: the cut's figures, and those of the phases behind it."""
        return {
            **self.result.model_dump(mode="json"),
            "recovery": self.run.model_dump(mode="json") if self.run else None,
            "evaluation": self.evaluation.model_dump(mode="json") if self.evaluation else None,
        }


def cut_and_recover(
    cutting: Cutting,
    plan: Path,
    *,
    recovery: Recovery | None = None,
    evaluate: str | None = None,
    work: UnfinishedWork | None = None,
) -> Outcome:
    """Apply the plan, then finetune and judge as asked.

    `evaluate` names text. Judged are the model, what the plan left of it, and the finetuned one.
    `work` is where the cut model waits to be finetuned, and the checkpoints lie.
    """
    from globalprune.apply.executor import check_apply

    refuse_absent_text(recovery, evaluate)
    check_apply(
        cutting.model,
        plan,
        cutting.out,
        analysis=cutting.analysis,
        overwrite=cutting.overwrite,
    )
    work = UnfinishedWork.beside(cutting.out) if work is None else work
    if recovery is not None:
        work.refuse(resume=cutting.resume, overwrite=cutting.overwrite)
    before = judged({cutting.model: cutting.model}, evaluate, cutting)
    if recovery is None:
        result, run = _applied(cutting, plan, cutting.out), None
        states = {str(cutting.out): str(cutting.out)}
    else:
        work.begin(_asked(cutting, plan, recovery), resume=cutting.resume)
        result, run = _recovered(cutting, plan, recovery, work)
        states = {
            str(work.folder / "cut"): f"{cutting.out}, cut only",
            str(cutting.out): str(cutting.out),
        }
    after = judged(states, evaluate, cutting)
    evaluation = None
    if before and after:
        evaluation = before.model_copy(update={"models": (*before.models, *after.models)})
        keep(evaluation, cutting)
    work.remove()
    return Outcome(result.model_copy(update={"out": str(cutting.out)}), run, evaluation)


def _asked(cutting: Cutting, plan: Path, recovery: Recovery) -> dict[str, Any]:
    """What makes two starts the same work."""
    return {
        "model": cutting.model,
        "plan": read_plan(plan).decisions_digest(),
        **recovery.described,
    }


def _applied(cutting: Cutting, plan: Path, out: Path) -> ApplyResult:
    """Apply the plan."""
    from globalprune.apply.executor import apply_plan

    return apply_plan(
        cutting.model,
        plan,
        out,
        analysis=cutting.analysis,
        overwrite=cutting.overwrite,
        command=cutting.command,
        progress=cutting.progress,
    )


def _recovered(
    cutting: Cutting, plan: Path, recovery: Recovery, work: UnfinishedWork
) -> "tuple[ApplyResult, RecoveryRun | None]":
    """Cut into the work's folder, unless that is done, and finetune from there into OUT."""
    from globalprune.recover.finetuner import finetune

    cut = work.folder / "cut"
    metrics = cut / OWN_FOLDER / METRICS_FILE
    if metrics.is_file():  # it appears whole or not at all
        known = ApplyMetrics.model_validate_json(metrics.read_text(encoding="utf-8"))
        result = ApplyResult(**known.model_dump(), out=str(cut))
    else:
        result = _applied(cutting, plan, cut)
    run = finetune(
        str(cut),
        cutting.out,
        recovery.settings,
        data=recovery.data,
        teacher=cutting.model if recovery.settings.distillation else None,
        device=recovery.device,
        dtype=recovery.dtype,
        resume=cutting.resume,
        overwrite=cutting.overwrite,
        work=UnfinishedWork(work.folder / "finetuning"),
        command=cutting.command,
        progress=cutting.progress,
    )
    return result, run
