"""Commands that are killed as they put files into place: the old or the new, never a mixture."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import files_below, gp

from globalprune.analysis.analyzer import analyze_model
from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.artifacts.evaluations.evaluation_table import (
    evaluation_csv,
    evaluation_markdown,
    read_evaluation,
)
from globalprune.evaluation.comparison import evaluate_models

Tiny = Callable[[str], Path]
TEXT = ("--data", "builtin", "--samples", 4, "--seq-len", 16)
LOADED = (analyze_model, evaluate_models)  # before a process is forked


def killed_at(renames: int, below: Path, *words: Any) -> bool:
    """Run a command in a process that is killed at its rename of that number; False if it ended.

    Counted are renames of what lies in place, and not those of files that are being made.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = renames

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "os.rename" and str(below) in str(arguments[1]):
            left -= ".part/" not in str(arguments[1])
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        gp(*words)
    finally:
        os._exit(0)


def the_analysis(folder: Path) -> None:
    """All files of one analysis, and a person's note."""
    analysis = read_analysis(folder)
    assert analysis.record.table in (folder / "description.txt").read_text()
    assert analysis.record.table in (folder / "analyze.log").read_text()
    assert analysis.table.metadata["globalprune.analysis"] == analysis.record.identity


def the_evaluation(folder: Path) -> None:
    """The same figures in all three files."""
    found = read_evaluation(folder / "evaluation.json")
    assert (folder / "evaluation.csv").read_text() == evaluation_csv(found)
    assert (folder / "evaluation.md").read_text() == evaluation_markdown(found)


COMMANDS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], Callable[[Path], None]]] = {
    "analyze": (TEXT, (*TEXT, "--seed", 1, "--overwrite"), the_analysis),
    "eval": (("--no-speed", *TEXT), ("--no-speed", *TEXT, "--seq-len", 24), the_evaluation),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_kill_between_two_renames_mixes_nothing(tiny: Tiny, tmp_path: Path, command: str) -> None:
    """The next run ends well, leaves nothing of the dead one, and what is a person's stays."""
    first, second, whole = COMMANDS[command]
    out, renames = tmp_path / "place" / "out", 0
    assert gp(command, tiny("llama"), "-o", out, *first).code == 0
    (out / "note.txt").write_text("mine")
    old = Path(shutil.copytree(out, tmp_path / "old"))
    again = (command, tiny("llama"), "-o", out, *second)
    while killed_at(renames, tmp_path, *again):
        whole(out)
        assert (out / "note.txt").read_text() == "mine"
        done = gp(*again)
        assert done.code == 0, done.err
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        assert files_below(out) - files_below(old) <= _parts(out)
        shutil.rmtree(out)
        shutil.copytree(old, out)
        renames += 1
    assert renames > 0


def _parts(out: Path) -> set[str]:
    """Figures that an evaluation keeps of each question."""
    return {f"parts/{path.name}" for path in (out / "parts").glob("*.json")}
