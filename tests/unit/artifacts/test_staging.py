"""Folders that change whole, wherever the process that changes them is killed."""

import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from globalprune.artifacts import staging
from globalprune.artifacts.disk import temporary_name
from globalprune.artifacts.staging import (
    complete_update,
    move_into_place,
    recover_place,
    staged_folder,
    updated_folder,
)
from globalprune.errors import UsageError

OLD = {"table": "old", "record": "old", "curves": "old", "note.txt": "mine", "deep/er/note": "mine"}
NEW = {"table": "new", "record": "new", "note.txt": "mine", "deep/er/note": "mine"}
OWNED = ("table", "record", "curves")
STEPS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link"}


def everything_in(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fill(folder: Path, contents: dict[str, str]) -> Path:
    """Write files, the folders above them too."""
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder as text."""
    return {name: content.decode() for name, content in everything_in(folder).items()}


def killed_after(steps: int, work: Callable[[], None], below: Path) -> bool:
    """Do the work in a process that is killed at its step of that number; False if it ended.

    Steps are what changes files below a folder, as the interpreter's audit events tell them.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = steps

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in STEPS and str(below) in str(arguments[0]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        work()
    finally:
        os._exit(0)


def update(folder: Path) -> None:
    """Replace what is owned: two files anew, the third goes."""
    with updated_folder(folder, OWNED) as new:
        fill(new, {"table": "new", "record": "new"})


def replace(folder: Path) -> None:
    """Replace the whole folder."""
    with staged_folder(folder, replace=True) as new:
        fill(new, NEW)


@pytest.mark.parametrize("swapping", [True, False], ids=["swapped", "by the journal"])
@pytest.mark.parametrize("change", [update, replace])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    *,
    swapping: bool,
) -> None:
    """A reader finds one of the two, a person's files stay, the next run leaves nothing behind."""
    if not swapping:
        monkeypatch.setattr(staging, "swap_folders", lambda *_: False)
    steps, found = 0, []
    while True:
        shutil.rmtree(tmp_path)
        folder = fill(tmp_path / "out", OLD)
        if not killed_after(steps, lambda: change(tmp_path / "out"), tmp_path):
            break
        if not swapping:
            complete_update(folder)
        found.append({name: text for name, text in contents(folder).items() if ".part" not in name})
        change(folder)
        assert contents(tmp_path) == {f"out/{name}": text for name, text in NEW.items()}
        steps += 1
    assert contents(tmp_path) == {f"out/{name}": text for name, text in NEW.items()}
    assert [each for each in found if each not in (OLD, NEW)] == []
    assert OLD in found
    assert NEW in found


def test_a_folder_under_a_shells_feet_stays_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stands in it sees the new files; so does a folder that a disk is mounted at."""
    folder = fill(tmp_path / "out", OLD)
    monkeypatch.chdir(folder)
    update(Path())
    assert contents(Path()) == NEW
    monkeypatch.chdir(tmp_path)
    number = folder.stat().st_ino
    monkeypatch.setattr(Path, "is_mount", lambda self: self == folder)
    replace(folder)
    assert (contents(tmp_path / "out"), folder.stat().st_ino) == (NEW, number)


def test_what_a_folder_cannot_be_linked_to_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without links is changed by the journal."""
    folder = fill(tmp_path / "out", OLD)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    update(folder)
    assert contents(tmp_path) == {f"out/{name}": text for name, text in NEW.items()}


def test_what_dead_processes_left_is_cleared_away(tmp_path: Path) -> None:
    """Also where their number is in use again; a living one's work, and other names, stay."""
    folder = fill(tmp_path / "out", OLD)
    living = temporary_name(folder)
    host, rest = living.name.removesuffix(".part").rsplit("-", 2)[0], living.name.rsplit(".", 2)[1]
    pid, started = living.name.split("-")[-2], living.name.split("-")[-1].partition(".")[0]
    dead = [
        tmp_path / f"{host}-{2**22 + 1}-{started}.{rest}.part",
        tmp_path / f"{host}-{pid}-{int(started) - 60}.{rest}.part",
        folder / f"{host.replace('.out.', '.plan.yaml.')}-{2**22 + 1}-{started}.{rest}.part",
    ]
    others = [living, tmp_path / ".out.backup.part", tmp_path / ".out.elsewhere-1-1.abcdef01.part"]
    for path in (*dead, *others):
        fill(path, {"model": "half"})
    recover_place(folder)
    assert [path.exists() for path in dead] == [False] * 3
    assert [path.exists() for path in others] == [True] * 3


def test_a_journal_that_may_not_be_touched_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who may not write there goes on reading."""
    folder = fill(tmp_path / "out", OLD)
    fill(folder / ".gp-update", {"table": "new", ".gp-going.json": json.dumps(["curves"])})

    def refuse(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        complete_update(folder)
    complete_update(folder)
    assert contents(folder) == {**NEW, "record": "old"}


def test_a_finished_folder_moves_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a swap; nothing of the old one is left."""
    for swapping in (True, False):
        if not swapping:
            monkeypatch.setattr(staging, "swap_folders", lambda *_: False)
        old, new = fill(tmp_path / "out", OLD), fill(tmp_path / "work" / "cut", {"deep/x": "new"})
        with pytest.raises(UsageError, match="was filled by another program meanwhile"):
            move_into_place(new, old, replace=False)
        move_into_place(new, old, replace=True)
        assert contents(tmp_path) == {"out/deep/x": "new"}


@pytest.mark.parametrize("old", [False, True], ids=["new folder", "over an old one"])
def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path, *, old: bool) -> None:
    """An interrupted surgery costs nothing that was there."""
    target = tmp_path / "out"
    if old:
        target.mkdir()
        (target / "model").write_bytes(b"old")

    def write() -> None:
        with staged_folder(target) as folder:
            (folder / "model").write_bytes(b"hal")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert everything_in(tmp_path) == ({"out/model": b"old"} if old else {})
    assert target.exists() is old


@pytest.mark.parametrize("old", [False, True], ids=["new folder", "over an old one"])
def test_a_folder_takes_its_place_only_when_it_is_done(tmp_path: Path, *, old: bool) -> None:
    """Until then the old one is what everyone sees; afterwards nothing of it is left."""
    target = tmp_path / "above" / "out"
    if old:
        target.mkdir(parents=True)
        (target / "stale").write_bytes(b"old")
    with staged_folder(target, replace=old) as folder:
        (folder / "model").write_bytes(b"new")
        assert folder.parent == target.parent
        assert target.exists() is old
        assert not (target / "model").exists()
    assert everything_in(tmp_path) == {"above/out/model": b"new"}
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_a_new_folder_is_as_open_as_the_umask_says(tmp_path: Path) -> None:
    """Temporary folders are private; a finished model is for everyone who may read here."""
    old = os.umask(0o027)
    try:
        with staged_folder(tmp_path / "out"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_a_folder_that_another_program_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Of two that write to one place, the second to end is told, and the first one's work stays."""
    target = tmp_path / "out"

    def write() -> None:
        with staged_folder(target):
            target.mkdir()
            (target / "theirs").write_bytes(b"done")

    with pytest.raises(UsageError, match=r"out: was filled by another program meanwhile; choose"):
        write()
    assert everything_in(tmp_path) == {"out/theirs": b"done"}
