"""The run itself: load, put adapters on, train, save. What was loaded is let go at the end."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from globalprune.artifacts.results.finetuning import LossPoint, RecoverySettings
from globalprune.models.loading import load_model
from globalprune.models.quiet import quiet_logs
from globalprune.progress import Progress
from globalprune.recover.arguments import recompute_activations, training_arguments
from globalprune.recover.checkpoints import last_checkpoint, step_of
from globalprune.recover.lora import add_adapters
from globalprune.recover.precision import Arithmetic
from globalprune.recover.subject import Pupil
from globalprune.recover.trainer import RecoveryTrainer
from globalprune.recover.windows import TrainingWindows


@dataclass(frozen=True)
class Assignment:
    """Who learns what, from whom, and how."""

    pupil: Pupil
    teacher: Pupil | None
    windows: TrainingWindows
    settings: RecoverySettings
    arithmetic: Arithmetic
    trust_remote_code: bool
    progress: Progress


@dataclass(frozen=True)
class Trained:
    """What training left: a folder with weights or an adapter, and the curve."""

    folder: Path
    curve: tuple[LossPoint, ...]
    resumed_at: int | None
    trained_parameters: int
    processes: int
    device: str


def train(assignment: Assignment, work: Path, *, resume: bool) -> Trained:
    """Train as assigned, with checkpoints in `work`, from the last of them where one is resumed."""
    arguments = training_arguments(
        work,
        assignment.settings,
        assignment.windows,
        use_cpu=assignment.arithmetic.on_cpu,
    )
    teacher: Any = None
    if assignment.teacher is not None:
        teacher = _load(assignment.teacher, assignment.arithmetic.frozen, assignment)
    trainer = RecoveryTrainer(
        _student(assignment),
        arguments,
        assignment.windows,
        assignment.settings,
        teacher,
        assignment.progress,
    )
    checkpoint = last_checkpoint(work) if resume else None
    folder = work / "trained"
    with quiet_logs():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.save_model(str(folder))
    done = Trained(
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


def _load(pupil: Pupil, dtype: torch.dtype, assignment: Assignment) -> Any:
    """Load a model on the CPU; Trainer places it."""
    return load_model(
        pupil.checkpoint.source,
        dtype=dtype,
        trust_remote_code=assignment.trust_remote_code,
    )


def _student(assignment: Assignment) -> Any:
    """The model with what is to be trained of it ready."""
    settings = assignment.settings
    model = _load(assignment.pupil, assignment.arithmetic.weights, assignment)
    if settings.recompute:
        recompute_activations(model)
    if settings.lora is None:
        return model.requires_grad_(requires_grad=True)
    torch.manual_seed(settings.seed)  # the adapters' first values
    return add_adapters(model, settings.lora)


def _curve(history: Sequence[dict[str, float]]) -> tuple[LossPoint, ...]:
    """The steps of Trainer's log, those before a resume too."""
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
