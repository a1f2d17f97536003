"""The training run: arguments, checkpoints and resuming."""

import gc
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainingArguments

from globalprune.artifacts.results.finetuning import FinetuneSettings, LossPoint
from globalprune.finetuning.inputs import Precision, TrainingWindows
from globalprune.finetuning.lora_trainer import FinetuneTrainer, add_adapters
from globalprune.models.loading import load_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.quiet import quiet_logs
from globalprune.progress import Progress

KEPT_CHECKPOINTS: Final = 2  # the last may be half written when the machine dies
CHECKPOINT_BYTES: Final = 12  # of a trained parameter: float32, with two moments of AdamW
CHECKPOINTS_A_RUN: Final = 10
_LAST_WRITTEN: Final = "trainer_state.json"  # Trainer writes it after everything else


@dataclass(frozen=True)
class TrainingJob:
    """The student, its teacher if it has one, the text, and the settings of one training run."""

    student: PreparedModel
    teacher: PreparedModel | None
    windows: TrainingWindows
    settings: FinetuneSettings
    precision: Precision
    trust_remote_code: bool
    progress: Progress


@dataclass(frozen=True)
class TrainingResult:
    """What training left: a folder with weights or an adapter, and the curve."""

    folder: Path
    curve: tuple[LossPoint, ...]
    resumed_at: int | None
    trained_parameters: int
    processes: int
    device: str


def train(job: TrainingJob, work: Path, *, resume: bool) -> TrainingResult:
    """Train as assigned, with checkpoints in `work`, from the last of them where one is resumed."""
    arguments = training_arguments(
        work,
        job.settings,
        job.windows,
        use_cpu=job.precision.on_cpu,
    )
    teacher: Any = None
    if job.teacher is not None:
        teacher = _load(job.teacher, job.precision.frozen, job)
    trainer = FinetuneTrainer(
        _load_student(job),
        arguments,
        job.windows,
        job.settings,
        teacher,
        job.progress,
    )
    checkpoint = last_checkpoint(work) if resume else None
    folder = work / "trained"
    with quiet_logs():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.save_model(str(folder))
    done = TrainingResult(
        folder=folder,
        curve=_curve(trainer.state.log_history),
        trained_parameters=trainer.get_num_trainable_parameters(),
        resumed_at=None if checkpoint is None else step_of(checkpoint),
        processes=arguments.world_size,
        device=str(arguments.device),
    )
    del trainer, teacher
    gc.collect()
    return done


def training_arguments(
    folder: Path, settings: FinetuneSettings, windows: TrainingWindows, *, use_cpu: bool
) -> TrainingArguments:
    """Trainer's arguments for these settings, with a checkpoint after every tenth of the steps.

    Windows of different lengths run one at a time, and are accumulated to the same batch.
    """
    batch, accumulate = settings.batch_size, settings.accumulate
    if windows.is_ragged:
        batch, accumulate = 1, batch * accumulate
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        use_cpu=use_cpu,
        average_tokens_across_devices=True,
        dataloader_pin_memory=not use_cpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would log a loss that is not finite as 0
        save_total_limit=KEPT_CHECKPOINTS,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # emptied sublayers depend on their input, so none is
        disable_tqdm=True,
        report_to="none",
    )
    if arguments.n_gpu > 1:  # one process takes one GPU; `accelerate launch` starts more
        arguments._n_gpu = 1  # noqa: SLF001 - DataParallel has no other switch
    steps = _steps(settings, arguments, len(windows))
    arguments.warmup_steps = round(settings.warmup * steps)
    arguments.save_steps = max(1, -(-steps // CHECKPOINTS_A_RUN))
    return arguments


def recompute_activations(model: Any) -> None:
    """Recompute the activations of layers in the backward pass, instead of keeping them."""
    # transformers renamed it in 5.20; the old name warns
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
    model.enable_input_require_grads()


def last_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint."""
    whole = [
        path.parent for path in folder.glob(f"checkpoint-*/{_LAST_WRITTEN}") if _is_complete(path)
    ]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint: 120 for `checkpoint-120`."""
    return int(checkpoint.name.rpartition("-")[2])


@contextmanager
def discard_incomplete_checkpoints(folder: Path) -> Iterator[None]:
    """If the block fails, remove the checkpoint that it was writing."""
    try:
        yield
    except BaseException:
        for path in folder.glob("checkpoint-*"):
            if not _is_complete(path / _LAST_WRITTEN):
                shutil.rmtree(path, ignore_errors=True)
        raise


def _steps(settings: FinetuneSettings, arguments: TrainingArguments, windows: int) -> int:
    """Steps of the optimiser in the whole run."""
    processes: int = arguments.world_size
    batches = -(-windows // (arguments.per_device_train_batch_size * processes))
    return settings.epochs * -(-batches // arguments.gradient_accumulation_steps)


def _is_complete(state: Path) -> bool:
    """Whether the file that is written last is complete."""
    try:
        step = json.loads(state.read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(step == step_of(state.parent))


def _load(model: PreparedModel, dtype: torch.dtype, job: TrainingJob) -> Any:
    """Load a model on the CPU; Trainer moves it."""
    return load_model(
        model.checkpoint,
        dtype=dtype,
        trust_remote_code=job.trust_remote_code,
    )


def _load_student(job: TrainingJob) -> Any:
    """The model with what is to be trained of it ready."""
    settings = job.settings
    model = _load(job.student, job.precision.weights, job)
    if settings.recompute:
        recompute_activations(model)
    if settings.lora is None:
        return model.requires_grad_(requires_grad=True)
    torch.manual_seed(settings.seed)  # the adapters' first values
    return add_adapters(model, settings.lora)


def _curve(history: Sequence[dict[str, float]]) -> tuple[LossPoint, ...]:
    """The steps of Trainer's log, including those before a resume."""
    return tuple(
        LossPoint(
            step=int(entry["step"]),
            loss=entry["loss"],
            learning_rate=entry["learning_rate"],
            grad_norm=entry.get("grad_norm"),
        )
        for entry in history
        if "loss" in entry
    )
