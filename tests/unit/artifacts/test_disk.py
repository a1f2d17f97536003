"""Files and folders that appear whole or not at all."""

import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from globalprune.artifacts.disk import (
    refuse_occupied,
    staged_folder,
    temporary_file,
    write_atomically,
)
from globalprune.errors import UsageError


def everything_in(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("old", [None, b"old"], ids=["new file", "over an old one"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, old: bytes | None) -> None:
    """Neither half of the new file nor a stray beside it."""
    path = tmp_path / "table.parquet"
    if old:
        path.write_bytes(old)

    def write() -> None:
        with temporary_file(path) as temporary:
            temporary.write_bytes(b"hal")
            raise OSError("disk full")

    with pytest.raises(UsageError, match=r"groups|table.* can't be written \(disk full\); choose"):
        write()
    assert everything_in(tmp_path) == ({"table.parquet": old} if old else {})


@pytest.mark.parametrize("content", ["größe\n", "größe\n".encode()], ids=["text", "bytes"])
def test_a_write_that_works_is_all_that_is_there(tmp_path: Path, content: str | bytes) -> None:
    """Text is UTF-8 with its newlines as they are; missing folders are made."""
    path = tmp_path / "deep" / "er" / "file.json"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    write_atomically(path, content)
    assert everything_in(tmp_path) == {"deep/er/file.json": "größe\n".encode()}
    write_atomically(tmp_path / "made" / "file", content)
    assert (tmp_path / "made" / "file").is_file()


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


def test_a_folder_that_cannot_take_its_place_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old folder is moved aside only for a moment."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "model").write_bytes(b"old")
    rename = Path.rename

    def refusing(self: Path, to: Path) -> Path:
        if self.suffix == ".part":
            raise OSError("busy")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(OSError, match="busy"), staged_folder(target, replace=True) as folder:
        (folder / "model").write_bytes(b"new")
    assert everything_in(tmp_path) == {"out/model": b"old"}


def test_a_new_folder_is_as_open_as_the_umask_says(tmp_path: Path) -> None:
    """Temporary folders are private; a finished model is for everyone who may read here."""
    old = os.umask(0o027)
    try:
        with staged_folder(tmp_path / "out"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_free_place_is_free(tmp_path: Path, *, overwrite: bool) -> None:
    """A folder that isn't there, and an empty one."""
    refuse_occupied(tmp_path, ours=["analysis.json"], overwrite=overwrite)
    refuse_occupied(tmp_path / "new", ours=["analysis.json"], overwrite=overwrite)


def test_our_own_folder_is_replaced_only_when_that_was_said(tmp_path: Path) -> None:
    """The message names the option."""
    (tmp_path / "analysis.json").touch()
    refuse_occupied(tmp_path, ours=["x", "analysis.json"], overwrite=True)
    with pytest.raises(UsageError, match=r"is not empty; choose another folder or say --overwrite"):
        refuse_occupied(tmp_path, ours=["x", "analysis.json"], overwrite=False)


def test_a_strangers_folder_is_never_replaced(tmp_path: Path) -> None:
    """Not even with the option: a home folder is one typing error away."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        UsageError,
        match=r"holds nothing that globalprune wrote \(a or b\), so --overwrite won't touch it",
    ):
        refuse_occupied(tmp_path, ours=["a", "b"], overwrite=True)


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    """Whatever was said."""
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match=r"out: is a file; name a folder with -o"):
        refuse_occupied(tmp_path / "out", ours=["a"], overwrite=True)


def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    """A file in the way is noticed before hours of measuring, not after."""
    (tmp_path / "file").write_text("mine")

    with pytest.raises(UsageError, match=r"out: can't be made, since .*file is a file; choose"):
        refuse_occupied(tmp_path / "file" / "deep" / "out", ours=["a"], overwrite=True)


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


def test_links_are_followed_and_kept(tmp_path: Path) -> None:
    """A linked file is written where it lies."""
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    """A model-sized orphan doesn't stay for ever; a living writer's folder is left alone."""
    write = (
        "import sys, os, pathlib; from globalprune.artifacts.disk import staged_folder\n"
        "with staged_folder(pathlib.Path(sys.argv[1])) as f: (f / 'x').touch(); os.abort()"
    )
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", write, str(target)], check=False, capture_output=True)
    assert len(list(tmp_path.iterdir())) == 1
    with staged_folder(target, replace=True), staged_folder(target, replace=True):
        assert len(list(tmp_path.iterdir())) == 2

    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_process_that_died_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    """The folder that was to be replaced is found again under its own name."""
    target = tmp_path / "out"
    old = tmp_path / f".out.{platform.node()}-{2**22 + 1}.ab.part.old"
    old.mkdir()
    (old / "weights").write_text("old")
    with pytest.raises(RuntimeError), staged_folder(target):
        raise RuntimeError
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interruption_between_two_renames_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises, not an OSError alone."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "weights").write_text("old")
    rename = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if self.name.endswith(".part") and to == target:
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), staged_folder(target, replace=True) as folder:
        (folder / "weights").write_text("new")
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
