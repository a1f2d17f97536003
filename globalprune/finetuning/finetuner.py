"""Finetunes a model that was cut, or any other.

MODEL is never changed. OUT appears when all is done; until then the checkpoints lie in
OUT.unfinished, from where an interrupted run resumes.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.finetuning import FinetuneRun, FinetuneSettings
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import staged_folder
from globalprune.artifacts.writer_lock import holds_writer_lock
from globalprune.errors import UsageError
from globalprune.finetuning.inputs import (
    TrainingData,
    check_student,
    check_teacher,
    choose_precision,
    read_training_data,
    weights_reference,
)
from globalprune.finetuning.output import (
    RunFacts,
    copy_records,
    describe_run,
    folder_reader,
    write_adapter,
    write_model,
    write_run,
)
from globalprune.finetuning.training_run import (
    CHECKPOINT_BYTES,
    KEPT_CHECKPOINTS,
    TrainingJob,
    TrainingResult,
    discard_incomplete_checkpoints,
    last_checkpoint,
    train,
)
from globalprune.models.checkpoints.lora_checkpoint import LoraCheckpoint
from globalprune.models.checkpoints.output_folder import refuse_foreign_files, refuse_unsafe_output
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import FinetuneOptions
from globalprune.progress import SILENT, Progress, Reporter
from globalprune.text.training import TrainingText


@holds_writer_lock("out", ranks_share=True)
def finetune_model(
    model: PreparedModel,
    out: Path,
    options: FinetuneOptions,
    *,
    teacher: PreparedModel | None = None,
    texts: Sequence[TrainingText] | None = None,
    work: RunFolder | None = None,
    reporter: Reporter = SILENT,
) -> FinetuneRun | None:
    """Train a model and write the result into the folder `out`, whole or not at all.

    `teacher` is that of the options if it was prepared already, `texts` are the windows if they
    were cut already. Checkpoints lie in `work`, or in OUT.unfinished. Under a launcher of several
    processes every one calls this; the first writes, and alone returns the record. Raise
    `UsageError` for options that contradict each other, before weights are loaded.
    """
    started = time.monotonic()
    out = out.expanduser()
    if teacher is None and options.teacher is not None:
        teacher = PreparedModel(options.teacher)
    _refuse_contradictions(options, teacher)
    precision = choose_precision(options.device, options.dtype, options.settings.method)
    settings = options.settings.model_copy(update={"precision": precision.name})
    _check_models(model, teacher, options, reporter.progress)
    work = RunFolder.beside(out) if work is None else work
    if _is_main_process():
        _refuse_output(model, teacher, settings, out, overwrite=options.overwrite)
        work.refuse_unfinished(resume=options.resume, overwrite=options.overwrite)
    data = read_training_data(model, options.data, settings, texts, reporter.progress)
    job = TrainingJob(
        model,
        teacher,
        data.windows,
        settings,
        precision,
        options.trust_remote_code,
        reporter.progress,
    )
    if _is_main_process():
        _begin(job, data, work, reporter, resume=options.resume)
    with work.removed_if_empty(), discard_incomplete_checkpoints(work.folder):
        trained = train(job, work.folder, resume=options.resume)
    if not _is_main_process():
        return None
    refuse_foreign_files(out)  # who may have come while it trained
    model.refuse_changed()
    with staged_folder(out.resolve(), replace=options.overwrite) as folder:
        copy_records(model.checkpoint, folder)
        _write(job, trained, folder, keep_adapter=options.keep_adapter)
        facts = RunFacts(
            model=weights_reference(model),
            teacher=weights_reference(teacher) if teacher else None,
            settings=settings,
            data=data,
            trained=trained,
            seconds=time.monotonic() - started,
            command=reporter.command,
        )
        record = describe_run(facts, None if options.keep_adapter else folder)
        write_run(folder, record, trained.curve, base=model.checkpoint, name=out.resolve().name)
    work.remove()
    for warning in record.warnings[len(data.warnings) :]:
        reporter.warn(warning)
    return record


def _check_models(
    model: PreparedModel,
    teacher: PreparedModel | None,
    options: FinetuneOptions,
    progress: Progress,
) -> None:
    """Fingerprint and identify student and teacher; raise for one that won't do."""
    check_student(model)
    model.weights()
    model.identity(progress)
    _refuse_stacking(model, keep_adapter=options.keep_adapter)
    if teacher is not None:
        check_teacher(teacher, model)
        teacher.identity(progress)


def _begin(
    job: TrainingJob, data: TrainingData, work: RunFolder, reporter: Reporter, *, resume: bool
) -> None:
    """Say what is doubtful, and make the run's folder or resume in the one that lies there."""
    for warning in data.warnings:
        reporter.warn(warning)
    work.begin(_identity(job), resume=resume)
    if resume and last_checkpoint(work.folder) is None:
        reporter.warn(f"{work.folder}: holds no checkpoint to go on from, so the run begins anew.")


def _refuse_contradictions(options: FinetuneOptions, teacher: PreparedModel | None) -> None:
    """Raise `UsageError` where two options exclude each other."""
    if options.settings.method == "full" and options.keep_adapter:
        raise UsageError("--keep-adapter: full finetuning makes no adapter; say --method lora.")
    if (options.settings.distillation is None) != (teacher is None):
        raise UsageError(
            "--teacher: a teacher and distillation settings go together; give both, or neither."
        )


def _refuse_stacking(model: PreparedModel, *, keep_adapter: bool) -> None:
    """Raise `UsageError` for an adapter on an adapter: the file could name only one of them."""
    if keep_adapter and model.source.adapter is not None:
        raise UsageError(
            f"--keep-adapter: {model.name} is an adapter itself, which the new one can't hold; "
            "leave it out, and both are merged."
        )


def _refuse_output(
    model: PreparedModel,
    teacher: PreparedModel | None,
    settings: FinetuneSettings,
    out: Path,
    *,
    overwrite: bool,
) -> None:
    """Raise `UsageError` where the result may not go, or doesn't fit with its checkpoints."""
    checkpoint = model.checkpoint
    needed = sum(info.bytes for info in checkpoint.tensors.values())
    if settings.method == "full":
        needed += (KEPT_CHECKPOINTS + 1) * CHECKPOINT_BYTES * checkpoint.parameters
    sources = [one.source for one in (model, teacher) if one is not None]
    refuse_unsafe_output(out, sources, needed_bytes=needed, overwrite=overwrite)


def _is_main_process() -> bool:
    """Whether this process is the one that writes; launchers number the processes they start."""
    return os.environ.get("RANK", "0") == "0"


def _identity(job: TrainingJob) -> dict[str, Any]:
    """What makes two starts the same run."""
    teacher = job.teacher
    return {
        "versions": tool_versions("peft", "accelerate"),
        "model": dict(job.student.identity().files),
        "teacher": dict(teacher.identity().files) if teacher else None,
        "data": job.windows.digest,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "trust_remote_code": job.trust_remote_code,
        "device": "cpu" if job.precision.on_cpu else "gpu",
        **job.settings.model_dump(mode="json"),
    }


def _write(job: TrainingJob, trained: TrainingResult, folder: Path, *, keep_adapter: bool) -> None:
    """Write the merged model, or the adapter alone."""
    base = job.student.checkpoint
    if keep_adapter:
        write_adapter(base, trained.folder, folder)
    elif job.settings.lora is None:
        write_model(base, folder_reader(trained.folder), folder)
    else:
        adapted = replace(base.source, adapter=trained.folder)
        write_model(base, LoraCheckpoint.open(adapted, base).read, folder)
