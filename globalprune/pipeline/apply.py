"""gp apply: cuts a model, finetunes it and evaluates every state; resumes after an interruption."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from globalprune.artifacts.evaluations.evaluation_table import EVALUATION_FILE, read_evaluation
from globalprune.artifacts.plans.plan_file import PlanFile, read_plan_file
from globalprune.artifacts.records import RECORDS_FOLDER
from globalprune.artifacts.results.cut import METRICS_FILE, ApplyResult, read_metrics
from globalprune.artifacts.results.finetuning import FINETUNE_FILE, read_finetune_record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.options import ApplyOptions
from globalprune.pipeline.preflight import (
    NO_TEXTS,
    Texts,
    evaluate_options,
    refuse_later_phases,
    text_digests,
)
from globalprune.progress import SILENT, Progress, Reporter

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison
    from globalprune.artifacts.results.finetuning import FinetuneRun
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.surgery.explain import Explanation
    from globalprune.surgery.prepare import PreparedCut

_CUT: Final = "cut"
_FINETUNED: Final = "finetuned"
Record = TypeVar("Record")


@dataclass(frozen=True)
class PruneResult:
    """The results of a cut and of the phases after it; None for a phase that did not run."""

    cut: ApplyResult
    finetuning: "FinetuneRun | None" = None
    evaluation: "Comparison | None" = None
    warned: tuple[str, ...] = ()  # warnings that were reported before the work began
    notes: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The result as JSON: the cut's figures, and those of the phases after it."""
        finetuning, evaluation = self.finetuning, self.evaluation
        return {
            **self.cut.model_dump(mode="json"),
            "recovery": finetuning.model_dump(mode="json") if finetuning else None,
            "evaluation": evaluation.model_dump(mode="json") if evaluation else None,
        }


@dataclass(frozen=True)
class CutJob:
    """A cut that is checked, and what its phases work with."""

    prepared: "PreparedCut"
    out: Path
    texts: Texts
    warnings: tuple[str, ...]  # that were reported before the work
    notes: tuple[str, ...]

    @property
    def model(self) -> "PreparedModel":
        """The model that is cut."""
        return self.prepared.model

    @property
    def options(self) -> ApplyOptions:
        """The options of the cut and the phases after it."""
        return self.prepared.options


def apply_plan(
    model: "PreparedModel",
    plan: Path,
    out: Path,
    options: ApplyOptions,
    *,
    reporter: Reporter = SILENT,
) -> PruneResult:
    """Cut the model by the plan into `out`, then finetune and evaluate as the options ask."""
    file = read_plan_file(plan, model.structure)
    job = check_cut(model, file, out, options, reporter=reporter)
    return run_stages(job, reporter=reporter) if options.in_stages else _run_at_once(job, reporter)


def explain_plan(
    model: "PreparedModel", plan: Path, out: Path | None, options: ApplyOptions
) -> "tuple[Explanation, tuple[str, ...]]":
    """Return the steps that `apply_plan` would execute, and notes on them; nothing is written.

    Raise what the run would raise; about its place only if `out` names one. The default text from
    the Hub is not fetched for that.
    """
    from globalprune.surgery.compensated_cut import read_windows
    from globalprune.surgery.executor import refuse_broken_size, refuse_cut
    from globalprune.surgery.explain import explain_cut
    from globalprune.surgery.prepare import prepare_cut

    refuse_later_phases(options)
    if options.compensation is not None and options.compensation.data is not None:
        read_windows(model, options)
    prepared = prepare_cut(model, read_plan_file(plan, model.structure), options)
    refuse_broken_size(prepared)
    if out is not None:
        refuse_cut(prepared, out, overwrite=options.overwrite)
    return explain_cut(prepared), _notes(prepared)


def check_cut(
    model: "PreparedModel",
    file: PlanFile,
    out: Path,
    options: ApplyOptions,
    texts: Texts = NO_TEXTS,
    *,
    reporter: Reporter,
) -> CutJob:
    """Prepare a cut; raise what any of its phases would raise for the same, and write nothing.

    The warnings of the result's records are reported now. `texts` are those that were read before.
    """
    from globalprune.surgery.compensated_cut import read_windows
    from globalprune.surgery.executor import refuse_cut
    from globalprune.surgery.prepare import cut_warnings, prepare_cut

    refuse_later_phases(options)
    prepared = prepare_cut(model, file, options)
    refuse_cut(prepared, out, overwrite=options.overwrite)
    windows = texts.compensation or read_windows(model, options, reporter.progress)
    warnings = cut_warnings(prepared, windows.record if windows else None)
    for warning in warnings:
        reporter.warn(warning)
    return CutJob(prepared, out, replace(texts, compensation=windows), warnings, _notes(prepared))


def run_stages(
    job: CutJob,
    work: RunFolder | None = None,
    further_records: Sequence[Path] = (),
    *,
    reporter: Reporter,
) -> PruneResult:
    """Cut, then finetune and evaluate; a stage whose record lies in `work` is not run again.

    The evaluation compares the model, the cut model and the finetuned one. `work` is OUT.unfinished
    unless it is part of a longer run. `further_records` are files and folders that the result keeps
    beside its own records.
    """
    options, model, out = job.options, job.model, job.out
    work = RunFolder.beside(out) if work is None else work
    work.refuse_unfinished(resume=options.resume, overwrite=options.overwrite)
    work.begin(_identity(job, reporter.progress), resume=options.resume)
    with work.removed_if_empty():
        last, result = _stages(job, work, reporter)
    model.refuse_changed()
    misnamed = keep_evaluation(last, result.evaluation, further_records, name=out.resolve().name)
    work.hand_over(last.name, out.resolve(), replace=options.overwrite)
    work.remove()
    warnings = (*result.cut.warnings, *filter(None, [misnamed]))
    cut = result.cut.model_copy(update={"out": str(out), "warnings": warnings})
    return replace(result, cut=cut)


def _stages(job: CutJob, work: RunFolder, reporter: Reporter) -> tuple[Path, PruneResult]:
    """Run every stage that is not done; return the folder of the last model."""
    from globalprune.models.prepared_model import PreparedModel

    cut_folder, tuned_folder = work.folder / _CUT, work.folder / _FINETUNED
    cut = _unless_done(
        cut_folder / RECORDS_FOLDER / METRICS_FILE,
        _read_cut,
        lambda: _cut(job, cut_folder, work, reporter),
    )
    cut_model = last = PreparedModel(cut_folder)
    models = {job.model: job.model.name, cut_model: f"{job.out}, cut only"}
    run = None
    if job.options.finetune is not None:
        run = _unless_done(
            tuned_folder / RECORDS_FOLDER / FINETUNE_FILE,
            lambda path: read_finetune_record(path).runs[-1],
            lambda: _finetune(job, cut_model, tuned_folder, work, reporter),
        )
        last = PreparedModel(tuned_folder)
    models[last] = str(job.out)
    evaluation = None
    if job.options.evaluate is not None:
        evaluation = _unless_done(
            Path(last.name) / RECORDS_FOLDER / EVALUATION_FILE,
            read_evaluation,
            lambda: _evaluate(job, models, reporter),
        )
    return Path(last.name), PruneResult(cut, run, evaluation, job.warnings, job.notes)


def _unless_done(record: Path, read: Callable[[Path], Record], run: Callable[[], Record]) -> Record:
    """Read the record of a stage if it is there, since it appears with the whole; else run it."""
    return read(record) if record.is_file() else run()


def _cut(job: CutJob, out: Path, work: RunFolder, reporter: Reporter) -> ApplyResult:
    """Cut the model into the work's folder; weights that are compensated already are reused."""
    from globalprune.surgery.executor import cut_model

    windows = job.texts.compensation
    return cut_model(job.prepared, out, windows, work.subfolder("compensating"), reporter=reporter)


def _finetune(
    job: CutJob, cut: "PreparedModel", out: Path, work: RunFolder, reporter: Reporter
) -> "FinetuneRun":
    """Finetune the cut model; the model before the cut teaches if the settings say so."""
    from globalprune.finetuning.finetuner import finetune_model

    options = job.options
    finetuning = options.finetune
    if finetuning is None:
        raise ValueError("the options have no finetuning")
    same = cut.tokenizer_digest == job.model.tokenizer_digest
    run = finetune_model(
        cut,
        out,
        replace(
            finetuning,
            device=options.device,
            dtype=options.dtype,
            resume=options.resume,
            overwrite=False,
        ),
        teacher=job.model if finetuning.settings.distillation else None,
        texts=job.texts.training if same else None,
        work=work.subfolder("finetuning"),
        reporter=reporter,
    )
    if run is None:
        raise UsageError("phases in a row run in one process; start gp without a launcher.")
    return run


def _evaluate(
    job: CutJob, models: "Mapping[PreparedModel, str]", reporter: Reporter
) -> "Comparison | None":
    """Evaluate models if the options say so; each gets the name that a person knows."""
    from globalprune.evaluation.comparison import evaluate_models

    options = evaluate_options(job.options)
    if options is None:
        return None
    comparison = evaluate_models([*models], options, text=job.texts.evaluation, reporter=reporter)
    named = tuple(
        result.model_copy(update={"source": name})
        for result, name in zip(comparison.models, models.values(), strict=True)
    )
    return comparison.model_copy(update={"models": named})


def _run_at_once(job: CutJob, reporter: Reporter) -> PruneResult:
    """Cut the model right into OUT, and evaluate it before and after if the options say so.

    Without compensation and finetuning there is no work worth keeping, so there is no run folder.
    """
    from globalprune.evaluation.windows import EvaluationText
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.surgery.executor import cut_model

    evaluating = evaluate_options(job.options)
    if evaluating is not None:
        job = replace(job, texts=Texts(evaluation=EvaluationText(evaluating, reporter.progress)))
    before = _evaluate(job, {job.model: job.model.name}, reporter)
    cut = cut_model(job.prepared, job.out, overwrite=job.options.overwrite, reporter=reporter)
    both = None
    if before is not None:
        after = _evaluate(job, {PreparedModel(cut.out): cut.out}, reporter)
        both = _joined(before, after)
        keep_evaluation(job.out, both, (), name=job.out.resolve().name)
    return PruneResult(cut, evaluation=both, warned=job.warnings, notes=job.notes)


def _joined(before: "Comparison", after: "Comparison | None") -> "Comparison":
    """Join the comparisons of the models before and after."""
    if after is None:
        return before
    return before.model_copy(
        update={
            "models": (*before.models, *after.models),
            "warnings": tuple(dict.fromkeys((*before.warnings, *after.warnings))),
        }
    )


def run_identity(
    model: "PreparedModel", options: ApplyOptions, progress: Progress
) -> dict[str, Any]:
    """Return what of model and options decides the result; equal identities mean the same run."""
    import torch

    from globalprune.artifacts.records import tool_versions
    from globalprune.models.placement import choose_placement

    compensation = options.compensation
    return {
        "versions": tool_versions("peft", "accelerate"),
        "model": dict(model.identity(progress).files),
        "device": torch.device(choose_placement(options.device, options.dtype).device).type,
        "dtype": options.dtype,
        "compensation": compensation.model_dump(mode="json") if compensation else None,
        "save_dtype": options.save_dtype,
    }


def _identity(job: CutJob, progress: Progress) -> dict[str, Any]:
    """Return what an interrupted run must share with this one to be resumed."""
    options = job.options
    finetuning, compensation = options.finetune, options.compensation
    described = None
    if finetuning is not None:
        settings = finetuning.settings.model_dump(mode="json")
        described = {"data": list(finetuning.data), **settings}
    texts = (
        compensation.data if compensation else None,
        *(finetuning.data if finetuning else ()),
        options.evaluate,
    )
    return {
        **run_identity(job.model, options, progress),
        "plan": job.prepared.plan.decisions_digest(),
        "finetune": described,
        "evaluate": options.evaluate,
        "texts": text_digests(texts),
    }


def _read_cut(metrics: Path) -> ApplyResult:
    """Read the result of a cut from its record."""
    return ApplyResult(**read_metrics(metrics).model_dump(), out=str(metrics.parent.parent))


def _notes(prepared: "PreparedCut") -> tuple[str, ...]:
    """Return the notes on a cut."""
    from globalprune.surgery.prepare import compensation_advice

    compensating = prepared.options.compensation is not None
    advice = compensation_advice(prepared.plan, compensating=compensating)
    return () if advice is None else (advice,)


def keep_evaluation(
    model: Path, evaluation: "Comparison | None", others: Sequence[Path], *, name: str
) -> str | None:
    """Put an evaluation and other files beside the model's records, and write its card anew.

    Return a warning if the licence asks for another name of the model, else None.
    """
    from globalprune.artifacts.evaluations.evaluation_table import write_evaluation
    from globalprune.card.model_card import write_card

    own = model / RECORDS_FOLDER
    if evaluation is not None:
        write_evaluation(own, evaluation)
    for path in others:
        if path.is_dir():
            shutil.copytree(path, own / path.name, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, own / path.name)
    # the licence was carried into the card that stands there
    return write_card(model, name=name, licence_from=model)
