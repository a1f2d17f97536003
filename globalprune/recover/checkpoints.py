"""Trainer's checkpoints in the folder of a run: which one to go on from.

A half-written one, of a machine that died meanwhile, is passed over.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LAST_WRITTEN: Final = "trainer_state.json"  # Trainer writes it behind everything else


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that is whole."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_LAST_WRITTEN}") if _ended(path)]
    return max(whole, key=step_of, default=None)


def _ended(state: Path) -> bool:
    """Whether the file that is written last was written to its end."""
    try:
        step = json.loads(state.read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(step == step_of(state.parent))


@contextmanager
def no_half_checkpoints(folder: Path) -> Iterator[None]:
    """Where the block fails, take away the checkpoint that it was writing."""
    try:
        yield
    except BaseException:
        for path in folder.glob("checkpoint-*"):
            if not _ended(path / _LAST_WRITTEN):
                shutil.rmtree(path, ignore_errors=True)
        raise


def step_of(checkpoint: Path) -> int:
    """`checkpoint-120` is of step 120."""
    return int(checkpoint.name.rpartition("-")[2])
