"""recovery.json and loss.csv of a result: settings, runs and the loss at every step.

A model that is finetuned again keeps its earlier runs; the last run is the last in the list.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, model_validator

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.formatting import csv_text
from globalprune.artifacts.records import Command, Record, TextRecord, read_record
from globalprune.errors import RecordInvalid

Method = Literal["lora", "full"]
FINETUNE_FILE = "recovery.json"
FINETUNE_FORMAT: Literal["globalprune.recovery/1"] = "globalprune.recovery/1"
LOSS_FILE: Final = "loss.csv"


class LoraSettings(Record):
    """Low-rank adapters: W + (alpha / r) · B·A, of which A and B are trained."""

    r: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] | None = None  # names of linear modules; None: all in the layers


class DistillationSettings(Record):
    """What is learned from a teacher: its most likely next tokens.

    The loss is (1 - weight) · cross-entropy + weight · T² · KL(teacher ‖ student), both at
    temperature T, over the teacher's `top_k` tokens and the rest as one.
    """

    top_k: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    weight: float = Field(default=0.5, gt=0, le=1)


class FinetuneSettings(Record):
    """Everything that decides what a finetuning computes, except model and text."""

    method: Method = "lora"
    samples: int = Field(default=500, ge=1)
    seq_len: int = Field(default=512, ge=2)
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    batch_size: int = Field(default=4, ge=1)  # windows at once on one device
    accumulate: int = Field(default=1, ge=1)  # batches to one step of the optimiser
    warmup: float = Field(default=0.03, ge=0, lt=1)  # of the steps; then falls linearly to 0
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    recompute: bool = False  # activations in the backward pass: less memory, a third more time
    lora: LoraSettings | None = LoraSettings()  # None where the method is full
    distillation: DistillationSettings | None = None

    @model_validator(mode="after")
    def _one_method(self) -> "FinetuneSettings":
        """Refuse LoRA settings for full finetuning, and LoRA without them."""
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError("`lora` belongs to the method lora, and to it alone")
        return self


class WeightsReference(Record):
    """A model by its name and the fingerprint of its weights."""

    source: str
    revision: str | None
    weights: str


class TrainingSource(Record):
    """One source of the text that was trained on."""

    text: TextRecord
    weight: float
    is_chat: bool  # of conversations only the assistant's tokens were learned


class LossPoint(Record):
    """One step of the loss curve; `loss` is in nats a learned token, before the step."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float | None = None


class FinetuneRun(Record):
    """One finetuning, with all that is needed to repeat it."""

    model: WeightsReference  # what went in
    teacher: WeightsReference | None
    settings: FinetuneSettings
    data: tuple[TrainingSource, ...]
    data_digest: str  # of windows, labels and their order before they are shuffled
    steps: int = Field(ge=1)
    learned_tokens: int = Field(ge=1)  # that the loss counts, in one epoch
    trained_parameters: int = Field(ge=1)
    first_loss: float  # mean over the first tenth of the steps
    last_loss: float  # mean over the last tenth
    processes: int = Field(ge=1)
    device: str
    weights: str | None  # fingerprint of the result; None where the adapter alone was written
    seconds: float = Field(ge=0)  # since the last start
    resumed_at: int | None = None  # the step that the last start resumed from
    command: Command
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()


class FinetuneRecord(Record):
    """Every finetuning of a model since it was cut."""

    format: Literal["globalprune.recovery/1"] = FINETUNE_FORMAT
    runs: tuple[FinetuneRun, ...] = Field(min_length=1)


def read_finetune_record(path: Path) -> FinetuneRecord:
    """Read recovery.json; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(path, FinetuneRecord, what="a record of finetuning", command="gp finetune")


def write_loss_curve(path: Path, curve: Sequence[LossPoint]) -> None:
    """Write a row for every step; the file is written whole or not at all."""
    rows = (list(point.model_dump().values()) for point in curve)
    write_atomically(path, csv_text(list(LossPoint.model_fields), rows))


def read_loss_curve(path: Path) -> tuple[LossPoint, ...]:
    """Read the steps in order; raise `RecordInvalid` for other rows."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return tuple(LossPoint.model_validate(_without_empty(row)) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error, ValidationError) as error:
        raise RecordInvalid(
            f"{path}: is no loss curve ({str(error).splitlines()[0]}); remove it, or run "
            "gp finetune again."
        ) from error


def _without_empty(row: dict[str, str]) -> dict[str, str]:
    """Return the cells of a row that are not empty."""
    return {name: value for name, value in row.items() if value not in ("", None)}
