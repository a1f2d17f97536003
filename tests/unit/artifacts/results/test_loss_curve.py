"""loss.csv is read back as it was written."""

from pathlib import Path

import pytest

from globalprune.artifacts.results.loss_curve import read_loss_curve, write_loss_curve
from globalprune.artifacts.results.recovery_record import LossPoint
from globalprune.errors import RecordInvalid


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """To the last digit; a step without a gradient's norm too."""
    curve = (
        LossPoint(step=1, loss=0.1 + 0.2, learning_rate=1e-4, grad_norm=0.5),
        LossPoint(step=2, loss=2.5, learning_rate=0.0),
    )
    write_loss_curve(tmp_path / "loss.csv", curve)

    assert read_loss_curve(tmp_path / "loss.csv") == curve


def test_other_tables_are_refused(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "loss.csv").write_text("step,loss\n1,much\n", "utf-8")
    with pytest.raises(RecordInvalid, match=r"loss\.csv: is no loss curve .*remove it, or run gp"):
        read_loss_curve(tmp_path / "loss.csv")
