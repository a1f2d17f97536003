"""Finetunes a model that was cut, or any other.

MODEL is never changed. OUT appears when all is done; until then the checkpoints lie in
OUT.unfinished, from where an interrupted run resumes.
"""

import os
import time
from collections.abc import Callable, Sequence
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
    OpenedModel,
    open_student,
    open_teacher,
    read_training_data,
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
from globalprune.finetuning.settings import choose_precision
from globalprune.finetuning.training import (
    CHECKPOINT_BYTES,
    KEPT_CHECKPOINTS,
    TrainingJob,
    TrainingResult,
    discard_incomplete_checkpoints,
    last_checkpoint,
    train,
)
from globalprune.models.checkpoints.identity import refuse_changed
from globalprune.models.checkpoints.lora_checkpoint import LoraCheckpoint
from globalprune.models.checkpoints.output_folder import refuse_foreign_files, refuse_unsafe_output
from globalprune.progress import Progress, ignore_message, silent


@holds_writer_lock("out", ranks_share=True)
def finetune(
    model: str,
    out: Path,
    settings: FinetuneSettings,
    *,
    data: Sequence[str] = (),
    teacher: str | None = None,
    keep_adapter: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    work: RunFolder | None = None,
    name: str | None = None,
    command: Sequence[str] = (),
    warn: Callable[[str], None] = ignore_message,
    progress: Progress = silent,
) -> FinetuneRun | None:
    """Train `model` on `data` and write the result into the folder `out`, whole or not at all.

    With a `teacher`, `settings.distillation` says how much of it is learned. `keep_adapter` writes
    the adapter alone, and not the merged model. `warn` is told of doubts before the long work, and
    `name` is what the card calls the result. Checkpoints lie in `work`, or in OUT.unfinished.
    Under a launcher of several processes every one calls this; the first writes, and alone returns
    the record. Raise `UsageError` for what can't be asked together, before weights are loaded.
    """
    started = time.monotonic()
    out = out.expanduser()
    _refuse_contradictions(settings, teacher, keep_adapter=keep_adapter)
    arithmetic = choose_precision(device, dtype, settings.method)
    settings = settings.model_copy(update={"precision": arithmetic.name})
    pupil = open_student(model, progress)
    _refuse_stacking(pupil, keep_adapter=keep_adapter)
    work = RunFolder.beside(out) if work is None else work
    taught_by = None if teacher is None else open_teacher(teacher, pupil, progress)
    if _is_main_process():
        _refuse_output(out, pupil, taught_by, settings, overwrite=overwrite)
        work.refuse_unfinished(resume=resume, overwrite=overwrite)
    lesson = read_training_data(pupil, data, settings, progress)
    for warning in lesson.warnings if _is_main_process() else ():
        warn(warning)
    assignment = TrainingJob(
        pupil, taught_by, lesson.windows, settings, arithmetic, trust_remote_code, progress
    )
    if _is_main_process():
        work.begin(_identity(assignment), resume=resume)
    if resume and last_checkpoint(work.folder) is None and _is_main_process():
        warn(f"{work.folder}: holds no checkpoint to go on from, so the run begins anew.")
    with work.removed_if_empty(), discard_incomplete_checkpoints(work.folder):
        trained = train(assignment, work.folder, resume=resume)
    if not _is_main_process():
        return None
    refuse_foreign_files(out)  # who may have come while it trained
    refuse_changed(pupil.checkpoint.source, pupil.identity.files)
    with staged_folder(out.resolve(), replace=overwrite) as folder:
        copy_records(pupil.checkpoint, folder)
        _write(assignment, trained, folder, keep_adapter=keep_adapter)
        facts = RunFacts(
            model=pupil.known,
            teacher=taught_by.known if taught_by else None,
            settings=settings,
            lesson=lesson,
            trained=trained,
            seconds=time.monotonic() - started,
            command=command,
        )
        record = describe_run(facts, None if keep_adapter else folder)
        called = name or out.resolve().name
        write_run(folder, record, trained.curve, base=pupil.checkpoint, name=called)
    work.remove()
    for warning in record.warnings[len(lesson.warnings) :]:
        warn(warning)
    return record


def _refuse_contradictions(
    settings: FinetuneSettings, teacher: str | None, *, keep_adapter: bool
) -> None:
    """Raise `UsageError` where two wishes exclude each other."""
    if settings.method == "full" and keep_adapter:
        raise UsageError("--keep-adapter: full finetuning makes no adapter; say --method lora.")
    if (settings.distillation is None) != (teacher is None):
        raise UsageError("a teacher and how to learn from it belong together; say --teacher MODEL.")


def _refuse_stacking(pupil: OpenedModel, *, keep_adapter: bool) -> None:
    """Raise `UsageError` for an adapter on an adapter: the file could name only one of them."""
    if keep_adapter and pupil.checkpoint.source.adapter is not None:
        raise UsageError(
            f"--keep-adapter: {pupil.known.source} is an adapter itself, which the new one can't "
            "hold; leave it out, and both are merged."
        )


def _refuse_output(
    out: Path,
    pupil: OpenedModel,
    teacher: OpenedModel | None,
    settings: FinetuneSettings,
    *,
    overwrite: bool,
) -> None:
    """Raise `UsageError` where the result may not go, or doesn't fit with its checkpoints."""
    needed = sum(info.bytes for info in pupil.checkpoint.tensors.values())
    if settings.method == "full":
        needed += (KEPT_CHECKPOINTS + 1) * CHECKPOINT_BYTES * pupil.checkpoint.parameters
    sources = [one.checkpoint.source for one in (pupil, teacher) if one is not None]
    refuse_unsafe_output(out, sources, needed_bytes=needed, overwrite=overwrite)


def _is_main_process() -> bool:
    """Whether this process is the one that writes; launchers number the processes they start."""
    return os.environ.get("RANK", "0") == "0"


def _identity(assignment: TrainingJob) -> dict[str, Any]:
    """What makes two starts the same run."""
    teacher = assignment.teacher
    return {
        "versions": tool_versions("peft", "accelerate"),
        "model": dict(assignment.pupil.identity.files),
        "teacher": dict(teacher.identity.files) if teacher else None,
        "data": assignment.windows.digest,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "trust_remote_code": assignment.trust_remote_code,
        "device": "cpu" if assignment.arithmetic.on_cpu else "gpu",
        **assignment.settings.model_dump(mode="json"),
    }


def _write(
    assignment: TrainingJob, trained: TrainingResult, folder: Path, *, keep_adapter: bool
) -> None:
    """Write the merged model, or the adapter alone."""
    base = assignment.pupil.checkpoint
    if keep_adapter:
        write_adapter(base, trained.folder, folder)
    elif assignment.settings.lora is None:
        write_model(base, folder_reader(trained.folder), folder)
    else:
        adapted = replace(base.source, adapter=trained.folder)
        write_model(base, LoraCheckpoint.open(adapted, base).read, folder)
