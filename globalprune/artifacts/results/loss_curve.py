"""loss.csv of a result: the loss at every step of its last finetuning."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.results.recovery_record import LossPoint
from globalprune.errors import RecordInvalid

LOSS_FILE: Final = "loss.csv"


def write_loss_curve(path: Path, curve: Sequence[LossPoint]) -> None:
    """Write one row a step, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(LossPoint.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump() for point in curve)
    write_atomically(path, text.getvalue())


def read_loss_curve(path: Path) -> tuple[LossPoint, ...]:
    """Read the steps in order; raise `RecordInvalid` for a file that holds other rows."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return tuple(LossPoint.model_validate(_without_empty(row)) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error, ValidationError) as error:
        raise RecordInvalid(
            f"{path}: is no loss curve ({str(error).splitlines()[0]}); remove it, or run "
            "gp finetune again."
        ) from error


def _without_empty(row: dict[str, str]) -> dict[str, str]:
    """A row without the cells that hold nothing."""
    return {name: value for name, value in row.items() if value not in ("", None)}
