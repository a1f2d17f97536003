"""recovery.json of a result: how it was finetuned, on what text, and how the loss fell.

A model that is finetuned again keeps the runs before; the last one is the last.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from globalprune.artifacts.analyses.analysis_record import TextRecord
from globalprune.artifacts.command import Command
from globalprune.artifacts.record import Record
from globalprune.artifacts.record_file import read_record
from globalprune.artifacts.results.recovery_settings import RecoverySettings

RECOVERY_FILE = "recovery.json"
FORMAT: Literal["globalprune.recovery/1"] = "globalprune.recovery/1"


class KnownModel(Record):
    """A model by its name and its weights."""

    source: str
    revision: str | None
    weights: str  # fingerprint


class TrainingData(Record):
    """One source of the text that was trained on."""

    text: TextRecord
    weight: float
    is_chat: bool  # only what the assistant says was learned


class LossPoint(Record):
    """One step of the loss curve; `loss` is in nats a learned token, before the step."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float | None = None


class RecoveryRun(Record):
    """One finetuning, with all that repeats it."""

    model: KnownModel  # what went in
    teacher: KnownModel | None
    settings: RecoverySettings
    data: tuple[TrainingData, ...]
    data_digest: str  # of windows, labels and their order before they are shuffled
    steps: int = Field(ge=1)
    learned_tokens: int = Field(ge=1)  # that the loss is over, in one epoch
    trained_parameters: int = Field(ge=1)
    first_loss: float  # mean over the first tenth of the steps
    last_loss: float  # mean over the last tenth
    processes: int = Field(ge=1)
    device: str
    weights: str | None  # fingerprint of the result; None where the adapter was kept by itself
    seconds: float = Field(ge=0)  # of the last start, where it was resumed
    resumed_at: int | None = None  # the step from which the last start went on
    command: Command
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()


class RecoveryRecord(Record):
    """Every finetuning of a model since it was cut."""

    format: Literal["globalprune.recovery/1"] = FORMAT
    runs: tuple[RecoveryRun, ...] = Field(min_length=1)


def read_recovery(path: Path) -> RecoveryRecord:
    """Read a record; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(path, RecoveryRecord, what="a record of finetuning", command="gp finetune")
