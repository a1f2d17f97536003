"""What `--overwrite` may replace: all that gp wrote, whatever the phase, nothing of a person."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import gp, refused

from globalprune.artifacts.own_files import RECORDS, foreign_files
from globalprune.artifacts.plans.plan_file import PLAN_FILE

TEXT = ("--data", "builtin", "--samples", "4", "--seq-len", "16")


@pytest.mark.slow
def test_all_that_every_phase_writes_is_replaced_and_nothing_of_a_person(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """One run of all phases leaves every file that is listed, and none that isn't."""
    out = tmp_path / "out"
    own = out / "globalprune"
    words = ("prune", tiny("llama"), "--ratio", "0.2", "-o", out, "--rounds", "2", *TEXT)
    learning = ("--finetune", "full", "--finetune-samples", "2", "--finetune-seq-len", "16")
    done = gp(*words, *learning, "--eval", "builtin")
    assert done.code == 0, done.err
    assert gp("plan", own, "--ratio", "0.1").code == 0

    written = {path.name for path in own.iterdir()}
    assert written >= RECORDS, RECORDS - written
    assert (own / "rounds" / "01" / PLAN_FILE).is_file()
    assert list(foreign_files(own)) == []

    again = (own / "plan-0.10.yaml").read_text()
    for name, content in {
        "rounds/01/notes.txt": "mine",
        "plan-0.10.yaml": again + "# mine\n",
        "plan.yaml": (own / "plan.yaml").read_text().partition("layers:")[0] + "layers: {}\n",
    }.items():
        before = (own / name).read_text() if (own / name).exists() else None
        (own / name).write_text(content)
        refused(gp(*words, "--overwrite"), rf"didn't write \(globalprune/{name}\)")
        (own / name).unlink() if before is None else (own / name).write_text(before)
    plan = tmp_path / PLAN_FILE
    plan.write_text((own / "plan-0.10.yaml").read_text())
    replaced = gp("apply", tiny("llama"), "--plan", plan, "-o", out, "--overwrite")
    assert replaced.code == 0, replaced.err
    assert not (own / "recovery.json").exists()
