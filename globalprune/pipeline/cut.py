"""Cuts a model, finetunes it and evaluates every state; resumes after an interruption."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.records import OWN_FOLDER
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, read_finetune_record
from globalprune.artifacts.results.metrics import METRICS_FILE, ApplyResult, read_metrics
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.pipeline.options import Cutting, Recovery
from globalprune.pipeline.preflight import refuse_early, text_digests

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.results.finetuning import FinetuneRun


def judge_states(cutting: Cutting, evaluate: str, cut: Path, tuned: Path | None) -> "Comparison":
    """Judge by the same text, each by the name that a person knows it by."""
    states = {cutting.model: cutting.model}
    if tuned is None:
        states[str(cut)] = str(cutting.out)
    else:
        states |= {str(cut): f"{cutting.out}, cut only", str(tuned): str(cutting.out)}
    return judged(states, evaluate, cutting)


def judged(states: dict[str, str], evaluate: str, cutting: Cutting) -> "Comparison":
    """Judge models by where they lie, and name them as said."""
    from globalprune.evaluation.comparison import evaluate_models
    from globalprune.evaluation.options import EvaluationOptions

    found = evaluate_models(
        list(states),
        EvaluationOptions(evaluate, device=cutting.device, dtype=cutting.dtype, speed=None),
        command=cutting.command,
        progress=cutting.progress,
    )
    named = tuple(
        model.model_copy(update={"source": states[model.source]}) for model in found.models
    )
    return found.model_copy(update={"models": named})


def keep_evaluation(
    model: Path, evaluation: "Comparison | None", others: Sequence[Path], *, name: str
) -> str | None:
    """Put figures and other files beside the model's records, and write its card anew.

    Return what the licence wants of the name, if that is unmet.
    """
    from globalprune.artifacts.evaluations.evaluation_files import write_evaluation
    from globalprune.card.model_card import write_card

    own = model / OWN_FOLDER
    if evaluation is not None:
        write_evaluation(own, evaluation)
    for path in others:
        if path.is_dir():
            shutil.copytree(path, own / path.name, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, own / path.name)
    # the licence was carried into the card that stands there
    return write_card(model, name=name, licence_from=model)


Done = TypeVar("Done")
_CUT, _TUNED = "cut", "finetuned"


@dataclass(frozen=True)
class Outcome:
    """What came of it; None is a phase that was not asked for."""

    result: ApplyResult
    run: "FinetuneRun | None" = None
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
    work.refuse_unfinished(resume=cutting.resume, overwrite=cutting.overwrite)
    identity = _identity(cutting, plan, recovery, evaluate)
    work.begin(identity, resume=cutting.resume)
    with work.removed_if_empty():
        cut, tuned = work.folder / _CUT, work.folder / _TUNED
        metrics = cut / OWN_FOLDER / METRICS_FILE
        result = _unless_done(metrics, _read_cut, lambda: _cut(cutting, plan, cut, work))
        run = None
        if recovery is not None:
            run = _unless_done(
                tuned / OWN_FOLDER / FINETUNE_FILE,
                lambda path: read_finetune_record(path).runs[-1],
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
        compensation=cutting.compensated_in(work.subfolder("compensating")),
        save_dtype=cutting.save_dtype,
        command=cutting.command,
        progress=cutting.progress,
    )


def _finetune(
    cutting: Cutting, recovery: Recovery, cut: Path, out: Path, work: RunFolder
) -> "FinetuneRun":
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
        work=work.subfolder("finetuning"),
        command=cutting.command,
        warn=cutting.warn,
        progress=cutting.progress,
    )
    if run is None:
        raise UsageError("phases in a row run in one process; start gp without a launcher.")
    return run


def cut_and_judge(cutting: Cutting, plan: Path, *, evaluate: str | None = None) -> Outcome:
    """Apply the plan into OUT, and put both models side by side as asked."""
    from globalprune.surgery.executor import apply_plan

    said = refuse_early(cutting, plan, None, evaluate)
    before = None if evaluate is None else judged({cutting.model: cutting.model}, evaluate, cutting)
    result = apply_plan(
        cutting.model,
        plan,
        cutting.out,
        analysis=cutting.analysis,
        overwrite=cutting.overwrite,
        save_dtype=cutting.save_dtype,
        command=cutting.command,
        progress=cutting.progress,
    )
    if before is None or evaluate is None:
        return Outcome(result, said=said)
    after = judged({result.out: result.out}, evaluate, cutting)
    both = before.model_copy(
        update={
            "models": (*before.models, *after.models),
            "warnings": tuple(dict.fromkeys((*before.warnings, *after.warnings))),
        }
    )
    out = cutting.out
    keep_evaluation(out, both, (), name=out.resolve().name)
    return Outcome(result, evaluation=both, said=said)
