"""What a run leaves beside the weights: recovery.json, the loss curve, the model card."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from globalprune.artifacts.records import OWN_FOLDER, tool_versions, write_record
from globalprune.artifacts.results.finetuning import (
    LOSS_FILE,
    RECOVERY_FILE,
    KnownModel,
    LossPoint,
    RecoveryRecord,
    RecoveryRun,
    RecoverySettings,
    read_recovery,
    write_loss_curve,
)
from globalprune.card.writing import write_card
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import weights_fingerprint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import ModelSource
from globalprune.recover.subject import Lesson
from globalprune.recover.training import Trained

_RUINED = 1.0  # nats; single windows differ by less


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run when its weights are written."""

    model: KnownModel
    teacher: KnownModel | None
    settings: RecoverySettings
    lesson: Lesson
    trained: Trained
    seconds: float
    command: Sequence[str]


def describe_run(facts: RunFacts, result: Path | None) -> RecoveryRun:
    """The record of a run; `result` is the folder of the merged model, if there is one."""
    losses = [point.loss for point in facts.trained.curve]
    tenth = max(1, len(losses) // 10)
    weights = None
    if result is not None:
        weights = weights_fingerprint(open_checkpoint(ModelSource(result.name, result)))
    return RecoveryRun(
        model=facts.model,
        teacher=facts.teacher,
        settings=facts.settings,
        data=facts.lesson.data,
        data_digest=facts.lesson.windows.digest,
        steps=facts.trained.curve[-1].step,
        learned_tokens=facts.lesson.windows.learned_tokens,
        trained_parameters=facts.trained.trained_parameters,
        first_loss=fmean(losses[:tenth]),
        last_loss=fmean(losses[-tenth:]),
        processes=facts.trained.processes,
        device=facts.trained.device,
        weights=weights,
        seconds=round(facts.seconds, 3),
        resumed_at=facts.trained.resumed_at,
        command=tuple(facts.command),
        versions=tool_versions("peft", "accelerate"),
        warnings=(*facts.lesson.warnings, *_risen(losses[:tenth], losses[-tenth:])),
    )


def _risen(first: Sequence[float], last: Sequence[float]) -> Iterator[str]:
    """Say where the loss rose by more than windows differ."""
    before, after = fmean(first), fmean(last)
    if after > before + _RUINED:
        yield (
            f"the loss rose from {before:.2f} to {after:.2f}: the model is worse than before; "
            "say a smaller --lr."
        )


def write_run(
    folder: Path, run: RecoveryRun, curve: Sequence[LossPoint], *, base: Checkpoint, name: str
) -> None:
    """Write the records into a result, behind those of the runs before; then its card."""
    own = folder / OWN_FOLDER
    path = own / RECOVERY_FILE
    earlier = read_recovery(path).runs if path.exists() else ()
    write_record(path, RecoveryRecord(runs=(*earlier, run)))
    write_loss_curve(own / LOSS_FILE, curve)
    write_card(folder, name=name, licence_from=base.companions)
