"""Cut, let recover and judge, all beside OUT; OUT takes its place as the very last step.

So a run that is stopped anywhere, while it judges too, goes on with what it had done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.artifacts.results.finetuning import RECOVERY_FILE, read_recovery
from globalprune.artifacts.results.metrics import METRICS_FILE, ApplyResult, read_metrics
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.pipeline.cutting import Cutting
from globalprune.pipeline.judging import judge_states, keep_evaluation
from globalprune.pipeline.recovery import Recovery
from globalprune.pipeline.refusals import refuse_early
from globalprune.pipeline.texts import text_digests

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.results.finetuning import RecoveryRun

Done = TypeVar("Done")
_CUT, _TUNED = "cut", "finetuned"


@dataclass(frozen=True)
class Outcome:
    """What came of it; None is a phase that was not asked for."""

    result: ApplyResult
    run: "RecoveryRun | None" = None
    evaluation: "Comparison | None" = None
    said: tuple[str, ...] = ()  # warnings that were said before the work began

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
    work: RunFolder | None = None,
    leave_behind: Sequence[Path] = (),
) -> Outcome:
    """Apply the plan, then finetune and judge as asked.

    `evaluate` names text. Judged are the model, what the plan left of it, and the finetuned one.
    `work` is where each stage keeps what it made; a stage whose record lies there is not run again.
    `leave_behind` are files for the result's records.
    """
    said = refuse_early(cutting, plan, recovery, evaluate)
    work = RunFolder.beside(cutting.out) if work is None else work
    work.refuse(resume=cutting.resume, overwrite=cutting.overwrite)
    identity = _identity(cutting, plan, recovery, evaluate)
    work.begin(identity, resume=cutting.resume)
    with work.forgotten_if_empty():
        cut, tuned = work.folder / _CUT, work.folder / _TUNED
        metrics = cut / OWN_FOLDER / METRICS_FILE
        result = _unless_done(metrics, _read_cut, lambda: _cut(cutting, plan, cut, work))
        run = None
        if recovery is not None:
            run = _unless_done(
                tuned / OWN_FOLDER / RECOVERY_FILE,
                lambda path: read_recovery(path).runs[-1],
                lambda: _finetune(cutting, recovery, cut, tuned, work),
            )
        last = cut if recovery is None else tuned
        evaluation = None
        if evaluate is not None:
            evaluation = _unless_done(
                last / OWN_FOLDER / EVALUATION_FILE,
                read_evaluation,
                lambda: judge_states(cutting, evaluate, cut, None if recovery is None else tuned),
            )
    _refuse_changed(cutting, identity)
    misnamed = keep_evaluation(last, evaluation, leave_behind, name=cutting.out.resolve().name)
    work.hand_over(last.name, cutting.out.resolve(), replace=cutting.overwrite)
    work.remove()
    warnings = (*result.warnings, *filter(None, [misnamed]))
    result = result.model_copy(update={"out": str(cutting.out), "warnings": warnings})
    return Outcome(result, run, evaluation, said)


def _refuse_changed(cutting: Cutting, identity: Mapping[str, Any]) -> None:
    """Raise where the model is no longer the one that the work began with."""
    from globalprune.models.checkpoints.identity import refuse_changed
    from globalprune.models.sources.source import resolve_model

    refuse_changed(resolve_model(cutting.model), identity["model"])


def _unless_done(record: Path, read: Callable[[Path], Done], do: Callable[[], Done]) -> Done:
    """What a stage made, if its record says that it was made; records appear with the whole."""
    return read(record) if record.is_file() else do()


def _identity(
    cutting: Cutting, plan: Path, recovery: Recovery | None, evaluate: str | None
) -> dict[str, Any]:
    """What makes two starts the same run."""
    learned = recovery.data if recovery else ()
    repaired_on = cutting.compensation.data if cutting.compensation else None
    return {
        **cutting.identity(),
        "plan": read_plan(plan).decisions_digest(),
        "finetune": recovery.described if recovery else None,
        "evaluate": evaluate,
        "texts": text_digests([repaired_on, *learned, evaluate]),
    }


def _read_cut(metrics: Path) -> ApplyResult:
    """What was cut before."""
    return ApplyResult(**read_metrics(metrics).model_dump(), out=str(metrics.parent.parent))


def _cut(cutting: Cutting, plan: Path, out: Path, work: RunFolder) -> ApplyResult:
    """Apply the plan into the work's folder; what compensation has solved already is taken."""
    from globalprune.surgery.executor import apply_plan

    return apply_plan(
        cutting.model,
        plan,
        out,
        analysis=cutting.analysis,
        compensation=cutting.compensated_in(work.part("compensating")),
        save_dtype=cutting.save_dtype,
        command=cutting.command,
        progress=cutting.progress,
    )


def _finetune(
    cutting: Cutting, recovery: Recovery, cut: Path, out: Path, work: RunFolder
) -> "RecoveryRun":
    """Let the cut model learn, with the model before the cut for a teacher if that was asked."""
    from globalprune.finetuning.finetuner import finetune

    run = finetune(
        str(cut),
        out,
        recovery.settings,
        data=recovery.data,
        teacher=cutting.model if recovery.settings.distillation else None,
        device=cutting.device,
        dtype=cutting.dtype,
        resume=cutting.resume,
        work=work.part("finetuning"),
        command=cutting.command,
        warn=cutting.warn,
        progress=cutting.progress,
    )
    if run is None:
        raise UsageError("phases in a row run in one process; start gp without a launcher.")
    return run
