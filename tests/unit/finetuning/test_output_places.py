"""What is read is never written over, and what is known of a model goes on with it."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import NamedTuple

import pytest
from tiny_finetunings import finetuned, small

from globalprune.artifacts.results.finetuning import read_finetune_record
from globalprune.errors import RecordInvalid, UsageError

Tiny = Callable[[str], Path]
RECORD = "globalprune/recovery.json"


def test_an_adapter_that_learns_on_keeps_its_history(made: Tiny, tmp_path: Path) -> None:
    """Its own runs, which lie in its own folder and not in its base's."""
    finetuned(made("llama") / "adapter", tmp_path / "out")
    assert len(read_finetune_record(tmp_path / "out" / RECORD).runs) == 2


def test_an_evaluation_of_other_weights_stays_behind(made: Tiny, tmp_path: Path) -> None:
    """Else the card would show the figures of the model before."""
    model = Path(copytree(made("llama") / "cut" / "out", tmp_path / "model"))
    for name in ("evaluation.json", "evaluation.csv", "evaluation.md"):
        (model / "globalprune" / name).write_text("{}")
    finetuned(model, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "globalprune").iterdir()}
    assert "metrics.json" in names
    assert not {name for name in names if name.startswith("evaluation")}


def test_records_that_cannot_be_carried_on_are_refused_before_training(
    made: Tiny, tmp_path: Path
) -> None:
    """Not behind the last step, when nothing can be done about it any more."""
    model = Path(copytree(made("llama") / "merged", tmp_path / "model"))
    record = model / RECORD
    record.write_text(
        record.read_text().replace("globalprune.recovery/1", "globalprune.recovery/2")
    )
    with pytest.raises(RecordInvalid, match=r"is of format globalprune\.recovery/2"):
        finetuned(model, tmp_path / "out")
    assert not (tmp_path / "out.unfinished").exists()


@pytest.mark.parametrize("which", ["adapter", "inside the teacher"])
def test_no_input_is_in_danger(made: Tiny, tmp_path: Path, which: str) -> None:
    """The adapter's own folder, not its base's alone; the teacher's too."""
    if which == "adapter":
        adapter = Path(copytree(made("llama") / "adapter", tmp_path / "adapter"))
        with pytest.raises(UsageError, match=r"adapter: is the model itself"):
            finetuned(adapter, adapter, overwrite=True)
        return
    teacher = Path(copytree(made("llama") / "merged", tmp_path / "teacher"))
    from globalprune.artifacts.results.finetuning import DistillationSettings

    settings = small(distillation=DistillationSettings())
    with pytest.raises(UsageError, match=r"lies inside the model's folder .*/teacher"):
        finetuned(made("llama") / "cut" / "out", teacher / "x", settings, teacher=str(teacher))


class Usage(NamedTuple):
    """What `shutil.disk_usage` tells."""

    total: int
    used: int
    free: int


def test_full_finetuning_needs_room_for_its_checkpoints(
    made: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that holds the result alone is refused before hours of work."""
    cut = made("llama") / "cut" / "out"
    size = (cut / "model.safetensors").stat().st_size
    path = "globalprune.models.checkpoints.output_folder.shutil.disk_usage"
    monkeypatch.setattr(path, lambda _: Usage(10**9, 0, 2 * size))
    with pytest.raises(UsageError, match=r"the result takes .* are free; make room"):
        finetuned(cut, tmp_path / "out", small(lora=None))
    finetuned(cut, tmp_path / "out")  # adapters are small
