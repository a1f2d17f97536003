"""Folders that change as a whole: a new one is filled beside the old and takes its place.

Where the system can, one rename swaps the two folders. Elsewhere (a mount point, a shell's current
folder, a file system without that rename) the new files first move into the folder as a journal;
if the process is killed then, the next reader or writer completes the update. `tempfile` is not
used: the new folder must be on the same file system, and its name says which process fills it.
"""

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from globalprune.artifacts.disk import (
    is_occupied,
    is_temporary,
    remove_stale,
    remove_stale_in,
    remove_tree,
    temporary_name,
)
from globalprune.errors import UsageError

if sys.platform != "win32":
    import fcntl

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_JOURNAL: Final = ".gp-update"  # a folder of new files, whole, on their way to the folder above
_GOING: Final = ".gp-going.json"  # in it, the names that go
_INSIDE: Final = "update"  # what files are staged for that can't be staged beside the folder


@contextmanager
def staged_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` if the block succeeds.

    Raise `UsageError` where another program fills `target` meanwhile, unless `replace` is set. What
    killed processes left behind beside `target` is removed first.
    """
    with _staging(target.resolve()) as (staging, place):
        yield staging
        move_into_place(staging, place, replace=replace)


@contextmanager
def updated_folder(target: Path, owned: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder whose files replace the `owned` files of `target`, all at once.

    Files of `owned` that the block doesn't write are removed; all other files of `target` stay. If
    the block fails, `target` is unchanged.
    """
    with _staging(target.resolve()) as (staging, place):
        yield staging
        written = [path.name for path in staging.iterdir()]
        if not place.exists():
            staging.rename(place)
        elif not (_linked(place, staging, owned) and _swapped(staging, place, owned)):
            for path in staging.iterdir():
                if path.name not in written:
                    remove_tree(path)
            _commit(staging, place, going={*owned} - {*written})


def move_into_place(folder: Path, target: Path, *, replace: bool) -> None:
    """Move a whole folder of the same file system to `target`.

    Raise `UsageError` where `target` is occupied, unless `replace` is set.
    """
    if not replace and is_occupied(target):
        raise UsageError(f"{target}: was filled by another program meanwhile; choose another.")
    if not target.exists():
        folder.rename(target)
    elif _may_be_swapped(target) and swap_folders(folder, target):
        remove_tree(folder)
    else:
        written = {path.name for path in folder.iterdir()}
        going = {path.name for path in target.iterdir() if not is_temporary(path.name)}
        _commit(folder, target, going=going - written)


def link_tree(folder: Path, target: Path) -> None:
    """Fill an existing folder with the files of another: hard links, or else copies."""
    for path in folder.iterdir():
        if not is_temporary(path.name):
            try:
                _link(path, target / path.name)
            except OSError:
                remove_tree(target / path.name)
                copy = shutil.copytree if path.is_dir() else shutil.copy2
                copy(path, target / path.name)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no part of it is ever seen under its name."""
    if folder.exists():
        doomed = temporary_name(folder)
        folder.rename(doomed)
        remove_tree(doomed)


def swap_folders(one: Path, other: Path) -> bool:
    """Swap two folders in one step; return False where the system can't."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if sys.platform != "linux" or renameat2 is None:
        return False
    sys.audit("os.rename", os.fspath(one), os.fspath(other), -1, -1)  # as every other rename
    names = os.fsencode(one), os.fsencode(other)
    done: int = renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return done == 0


def recover_place(place: Path) -> None:
    """Clean up after a killed run at `place`: complete its update, remove what it staged."""
    remove_stale(place)
    if place.is_dir():
        complete_update(place)
        remove_stale_in(place)


def complete_update(folder: Path) -> None:
    """Complete the update of a folder that a killed process had begun, if there is one."""
    journal = folder / _JOURNAL
    if not journal.is_dir():
        return
    with (
        suppress(PermissionError),
        _locked_journal(journal),
    ):  # a user who may only read can't complete it
        going = journal / _GOING
        if going.is_file():  # else it was completed but for the empty folder
            for path in journal.iterdir():
                if path.name != _GOING:
                    target = folder / path.name
                    if path.is_dir():
                        remove_tree(target)
                    path.replace(target)
            for name in json.loads(going.read_text("utf-8")):
                remove_tree(folder / name)
            going.unlink()
        with suppress(FileNotFoundError):
            journal.rmdir()


@contextmanager
def _locked_journal(journal: Path) -> Iterator[None]:
    """Hold a lock on a journal, where folders can be locked, so that one process completes it."""
    if sys.platform == "win32":
        yield
        return
    with suppress(FileNotFoundError):
        descriptor = os.open(journal, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _staging(place: Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder beside `place`, and `place`; remove the folder if it is still there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    inner = place / _INSIDE
    recover_place(place)
    # the name is known before the folder exists, so that no interruption can leave it behind
    staging = temporary_name(place if not place.exists() or _may_be_swapped(place) else inner)
    try:
        staging.mkdir()
        yield staging, place
    finally:
        remove_tree(staging)


def _may_be_swapped(place: Path) -> bool:
    """Return whether `place` may be swapped: not the current folder, nor a mount point."""
    is_current = Path.cwd().is_relative_to(place)
    return not is_current and not place.is_mount() and os.access(place.parent, os.W_OK)


def _linked(place: Path, staging: Path, owned: Collection[str]) -> bool:
    """Link all files that stay into the new folder; return False where links are impossible."""
    if not _may_be_swapped(place):
        return False
    try:
        for path in place.iterdir():
            if path.name not in owned and not is_temporary(path.name):
                _link(path, staging / path.name)
        shutil.copystat(place, staging)
    except OSError:
        return False
    return True


def _link(path: Path, target: Path) -> None:
    """Make `target` a hard link to a file, or a folder of links to the files of a folder."""
    if path.is_dir() and not path.is_symlink():
        target.mkdir()
        for inner in path.iterdir():
            _link(inner, target / inner.name)
        shutil.copystat(path, target)
    else:
        os.link(path, target, follow_symlinks=False)


def _swapped(staging: Path, place: Path, owned: Collection[str]) -> bool:
    """Swap the folders, and keep files that others added to the old one meanwhile."""
    if not swap_folders(staging, place):
        return False
    for path in staging.iterdir():
        late = path.name not in owned and not is_temporary(path.name)
        if late and not path.is_dir() and not (place / path.name).exists():
            path.rename(place / path.name)
    return True


def _commit(staging: Path, place: Path, *, going: Collection[str]) -> None:
    """Move the new files into the folder as a journal, by one rename, and complete it."""
    (staging / _GOING).write_text(json.dumps(sorted(going)), "utf-8")
    staging.rename(place / _JOURNAL)
    complete_update(place)
