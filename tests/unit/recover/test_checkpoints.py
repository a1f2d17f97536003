"""Which of Trainer's checkpoints a run goes on from."""

from pathlib import Path

from globalprune.recover.checkpoints import last_checkpoint, step_of


def checkpoint(folder: Path, step: int, *, whole: bool = True) -> Path:
    """Make one."""
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "optimizer.pt").touch()
    if whole:
        (path / "trainer_state.json").touch()
    return path


def test_the_latest_whole_one_is_taken(tmp_path: Path) -> None:
    """By its number, not its name; a half-written one is passed over."""
    checkpoint(tmp_path, 90)
    expected = checkpoint(tmp_path, 100)
    checkpoint(tmp_path, 110, whole=False)
    assert last_checkpoint(tmp_path) == expected
    assert step_of(expected) == 100


def test_without_one_there_is_none(tmp_path: Path) -> None:
    """A run may be stopped before its first, or before its folder."""
    checkpoint(tmp_path, 1, whole=False)
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "nowhere") is None
