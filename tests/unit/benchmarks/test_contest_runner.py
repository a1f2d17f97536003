"""Items run by themselves: what is finished is kept, what fails is told."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from contest import runner
from contest.measured_run import CommandFailedError, Cost, own_peak, run_measured, together
from contest.part import part_path, read_part, restore_parts, write_part
from contest.question import Item, Job
from contest_parts import part_of, question_of

ITEMS = [Item(recipe=recipe, ratio=0.2, seed=0) for recipe in ("flap", "wanda_sp")]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the processes: note what runs, and leave its part; `wanda_sp` fails."""
    names: list[str] = []

    def stand_in(command: Sequence[str], log: Path, environment: dict[str, str]) -> Cost:
        del log
        assert "benchmarks" in environment["PYTHONPATH"]
        job = Job.model_validate_json(Path(command[-1]).read_text(encoding="utf-8"))
        names.append(job.item.recipe)
        if job.item.recipe == "wanda_sp":
            raise CommandFailedError("exit code 1\nMemoryError: no more")
        write_part(job.work, part_of(job.item.recipe, key=job.key))
        return Cost(1.0, 1)

    monkeypatch.setattr(runner, "run_measured", stand_in)
    return names


def test_a_failure_is_recorded_and_the_run_goes_on(tmp_path: Path, ran: list[str]) -> None:
    """Its part says why; its line of news too."""
    said: list[str] = []
    items = [ITEMS[1], ITEMS[0]]

    parts = runner.run_items(question_of(), items, tmp_path, said.append)

    assert ran == ["wanda_sp", "flap"]
    assert [part.error for part in parts] == ["exit code 1\nMemoryError: no more", None]
    assert said == [
        "[1/2] wanda_sp, ratio 0.2, seed 0: failed: MemoryError: no more",
        "[2/2] flap, ratio 0.2, seed 0: 203 parameters in 7 s",
    ]
    assert "MemoryError" in part_path(tmp_path, ITEMS[1]).read_text(encoding="utf-8")


def test_a_second_run_does_only_what_failed(tmp_path: Path, ran: list[str]) -> None:
    """Finished items are taken from their parts, and that is said."""
    runner.run_items(question_of(), ITEMS, tmp_path, list[str]().append)
    ran.clear()
    said: list[str] = []

    parts = runner.run_items(question_of(), ITEMS, tmp_path, said.append)

    assert ran == ["wanda_sp"]
    assert parts[0].removed == 203
    assert said[0].endswith("from an earlier run")


def test_changed_inputs_are_run_again(tmp_path: Path, ran: list[str]) -> None:
    """A part of another question is not this item's."""
    runner.run_items(question_of(), ITEMS[:1], tmp_path, list[str]().append)
    ran.clear()

    runner.run_items(question_of(samples=5), ITEMS[:1], tmp_path, list[str]().append)

    assert ran == ["flap"]


def test_a_damaged_part_is_no_part(tmp_path: Path) -> None:
    """It is measured again."""
    write_part(tmp_path, part_of("flap", key="k"))
    assert read_part(tmp_path, ITEMS[0], "k") is not None

    part_path(tmp_path, ITEMS[0]).write_text("{", encoding="utf-8")

    assert read_part(tmp_path, ITEMS[0], "k") is None


def test_the_results_of_another_day_serve_as_parts(tmp_path: Path, ran: list[str]) -> None:
    """Only what isn't there yet is put back, so that newer parts are never replaced."""
    question = question_of()
    parts = runner.run_items(question, ITEMS[:1], tmp_path / "old", list[str]().append)
    results = tmp_path / "quality.json"
    restore_parts(tmp_path / "new", results)  # there are none yet
    results.write_text(json.dumps({"parts": [part.model_dump() for part in parts]}))
    ran.clear()

    restore_parts(tmp_path / "new", results)
    runner.run_items(question, ITEMS[:1], tmp_path / "new", list[str]().append)
    assert ran == []

    newer = parts[0].model_copy(update={"key": "newer"})
    write_part(tmp_path / "new", newer)
    restore_parts(tmp_path / "new", results)
    assert read_part(tmp_path / "new", ITEMS[0], "newer") == newer


def test_results_of_another_version_are_passed_over(tmp_path: Path) -> None:
    """What can't be read is measured anew; what can is put back."""
    good = part_of("flap", key="k")
    strange = part_of("flop", key="k").model_dump() | {"mood": "good"}
    results = tmp_path / "quality.json"
    results.write_text(json.dumps({"parts": [strange, good.model_dump()]}))
    restore_parts(tmp_path / "new", results)
    assert [path.name for path in (tmp_path / "new" / "parts").iterdir()] == [
        part_path(tmp_path, good.item).name
    ]


def test_a_process_is_measured_by_itself(tmp_path: Path) -> None:
    """Its peak is its own hundred megabytes, its time its own sleep."""
    code = "import time; x = bytearray(10**8); time.sleep(0.2)"
    small = run_measured([sys.executable, "-c", "pass"], tmp_path / "small.log")

    found = run_measured([sys.executable, "-c", code], tmp_path / "large.log")

    assert found.seconds >= 0.2
    assert found.peak_bytes >= 10**8
    assert own_peak() > 10**7
    assert together([small, found]).peak_bytes == max(small.peak_bytes, found.peak_bytes)
    assert together([small, found]).seconds == small.seconds + found.seconds


def test_a_failing_process_tells_its_last_words(tmp_path: Path) -> None:
    """The message ends as its standard error does."""
    command = [sys.executable, "-c", "raise ValueError('too little text')"]

    with pytest.raises(CommandFailedError, match=r"(?s)exit code 1.*ValueError: too little text$"):
        run_measured(command, tmp_path / "log")


def test_nothing_heavy_is_loaded_before_an_items_commands_run() -> None:
    """A child's peak memory begins at its parent's: runner and item must still be small."""
    code = "import sys, quality, contest.one_item; print('torch' in sys.modules)"
    paths = os.pathsep.join(sys.path)

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "False"
