"""One run at a time writes into a place."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import gp, refused

from globalprune.artifacts.writer_lock import refuse_distributed, writer_lock
from globalprune.errors import UsageError

HOLD = (
    "import sys, time, pathlib\n"
    "from globalprune.artifacts.writer_lock import writer_lock\n"
    "with writer_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


@contextmanager
def holding(place: Path) -> Iterator[int]:
    """Let a process hold a place, and kill it at the end; give its number."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process.pid
        finally:
            process.kill()


def test_the_second_run_is_refused_and_a_dead_one_holds_nothing(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """By its number and its start, at once, in every command; nothing is left behind."""
    out, model = tmp_path / "deep" / "out", tiny("llama")
    with holding(out) as number:
        told = rf"out: another gp writes there: process {number}, started 20\d\d-\d\d-\d\d \d\d:"
        for words in (
            ("analyze", model), ("apply", model, "--plan", "p"), ("finetune", model),
            ("prune", model, "--ratio", "0.2"), ("sweep", model), ("eval", model),
        ):  # fmt: skip
            refused(gp(*words, "-o", out), told)
    with writer_lock(out):
        assert (tmp_path / "deep").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert not list((tmp_path / "deep").iterdir())


def test_a_folder_and_what_lies_in_it_have_one_writer(tmp_path: Path) -> None:
    """Plans lie in the folder of their analysis, which is written as one; neighbours are free."""
    folder = tmp_path / "analysis"
    folder.mkdir()
    with holding(folder) as number:
        told = rf"analysis: another gp writes there: process {number}, started"
        with pytest.raises(UsageError, match=told), writer_lock(folder / "plan.yaml"):
            pass
        with writer_lock(tmp_path / "other"):
            pass
    with holding(folder / "plan.yaml") as number:
        with pytest.raises(UsageError, match=rf"process {number}, started"), writer_lock(folder):
            pass
        with writer_lock(folder / "plan-0.20.yaml"):
            pass
    with writer_lock(folder), writer_lock(folder / "plan.yaml"):
        pass
    assert not list(folder.iterdir())


def test_phases_in_a_row_hold_it_together_and_threads_do_not(tmp_path: Path) -> None:
    """A phase inside a command asks again; another thread is another run."""
    found = []

    def other() -> None:
        try:
            with writer_lock(tmp_path / "out"):
                found.append("written")
        except UsageError as error:
            found.append(str(error))

    with writer_lock(tmp_path / "out"), writer_lock(tmp_path / "out"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert [f"process {os.getpid()}, started" in text for text in found] == [True]
    with writer_lock(tmp_path / "new" / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_place_without_locks_is_written_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on some network file systems."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with writer_lock(tmp_path / "out"):
        assert not list(tmp_path.iterdir())
    assert "its file system knows no locks (Operation not supported)" in caplog.text


def test_where_nothing_can_be_made_beside_it_the_lock_lies_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may be writable in one that isn't."""
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, *_: Path(path) != tmp_path.resolve())
    with writer_lock(tmp_path / "out"):
        assert [path.name for path in tmp_path.rglob("*")] == ["out", ".gplock"]
    assert not list((tmp_path / "out").iterdir())


def test_ranks_of_a_launcher_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But where they share the work: there the first holds the place for all."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"one of 2 processes of a launcher.*without torchrun"):
        refuse_distributed()
    refused(gp("plan", tmp_path, "--ratio", 0.2), "analysis.json: can't be read|one of 2 processes")
    monkeypatch.setenv("RANK", "1")
    with writer_lock(tmp_path / "out", ranks_share=True):
        assert not list(tmp_path.iterdir())
