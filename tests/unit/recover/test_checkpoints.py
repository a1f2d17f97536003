"""Which of Trainer's checkpoints a run goes on from."""

import json
from pathlib import Path

import pytest

from globalprune.recover.checkpoints import last_checkpoint, step_of


def checkpoint(folder: Path, step: int, *, whole: bool = True) -> Path:
    """Make one."""
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "optimizer.pt").touch()
    if whole:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_the_latest_whole_one_is_taken(tmp_path: Path) -> None:
    """By its number, not its name; a half-written one is passed over."""
    checkpoint(tmp_path, 90)
    expected = checkpoint(tmp_path, 100)
    checkpoint(tmp_path, 110, whole=False)
    assert last_checkpoint(tmp_path) == expected
    assert step_of(expected) == 100


@pytest.mark.parametrize("state", ["", '{"global_step": 1', '{"global_step": 9}', "[]"])
def test_a_state_that_was_not_written_to_its_end_makes_none(tmp_path: Path, state: str) -> None:
    """The one before is gone on from, instead of a traceback for good."""
    expected = checkpoint(tmp_path, 90)
    (checkpoint(tmp_path, 100) / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == expected


def test_without_one_there_is_none(tmp_path: Path) -> None:
    """A run may be stopped before its first, or before its folder."""
    checkpoint(tmp_path, 1, whole=False)
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "nowhere") is None
