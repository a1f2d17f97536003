"""recovery.json: every finetuning of a model since it was cut."""

from pathlib import Path
from typing import Any

import pytest
from records import text_record

from globalprune.artifacts.records import write_record
from globalprune.artifacts.results.finetuning import (
    DistillationSettings,
    FinetuneRecord,
    FinetuneRun,
    FinetuneSettings,
    LossPoint,
    TrainingSource,
    WeightsReference,
    read_finetune_record,
    read_loss_curve,
    write_loss_curve,
)
from globalprune.errors import RecordInvalid


def run_of(**changes: Any) -> FinetuneRun:
    """A run of ten steps."""
    facts: dict[str, Any] = {
        "model": WeightsReference(source="cut", revision=None, weights="sha256:1"),
        "teacher": None,
        "settings": FinetuneSettings(),
        "data": (TrainingSource(text=text_record(), weight=0.7, is_chat=False),),
        "data_digest": "sha256:2",
        "steps": 10,
        "learned_tokens": 70,
        "trained_parameters": 8,
        "first_loss": 3.0,
        "last_loss": 2.0,
        "processes": 1,
        "device": "cpu",
        "weights": "sha256:3",
        "seconds": 1.5,
        "command": "gp finetune cut -o out",
        "versions": {"python": "3.11"},
    }
    return FinetuneRun(**(facts | changes))


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Every run, in order, with a teacher or without."""
    taught = run_of(
        teacher=WeightsReference(source="org/model@main", revision="abc", weights="sha256:4"),
        settings=FinetuneSettings(distillation=DistillationSettings(top_k=8)),
        weights=None,
        resumed_at=4,
        warnings=("mind its manners",),
    )
    record = FinetuneRecord(runs=(run_of(), taught))
    write_record(tmp_path / "recovery.json", record)
    assert read_finetune_record(tmp_path / "recovery.json") == record
    assert '"format": "globalprune.recovery/1"' in (tmp_path / "recovery.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("recovery/1", "recovery/2"),
            r"is of format globalprune\.recovery/2, this .* reads .*/1;",
        ),
        (('"runs"', '"walks"'), "is not a record of finetuning; run gp finetune again"),
        (('"steps": 10', '"steps": 0'), r"(?s)not a record of .*runs\.0\.steps: .*greater than"),
        (('"top_k"', '"top"'), r"(?s)not a record of .*distillation\.top: Extra inputs"),
        (("}", ""), "is not JSON .*; run gp finetune again"),
    ],
    ids=["another version", "no runs", "no step", "an unknown key", "cut short"],
)
def test_what_is_no_record_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    """The message says what is wrong where, and what to do."""
    path = tmp_path / "recovery.json"
    settings = FinetuneSettings(distillation=DistillationSettings())
    write_record(path, FinetuneRecord(runs=(run_of(settings=settings),)))
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(RecordInvalid, match=message):
        read_finetune_record(path)


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
