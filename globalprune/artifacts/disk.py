"""Files that are written whole or not at all, and never over what isn't ours.

Until a file or folder is whole, its temporary name says which process writes it. So what a killed
process left is distinguished from what is being written now.
"""

import glob
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from globalprune.errors import UsageError

LOCK_SUFFIX: Final = ".gplock"
_PART: Final = ".part"
_TEMPORARY: Final = re.compile(r"\..+-(?P<pid>\d+)-(?P<started>\d+)\.[0-9a-f]{8}\.part")
_CLOCK: Final = 2  # seconds by which two readings of one process's start may differ


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, then rename: readers see the old file or the new, never half of one."""
    with temporary_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; rename it onto `path` if the block succeeds, else remove it.

    A link is followed: its target is written and the link stays. Raise `UsageError` where the
    system refuses to write.
    """
    target = path.resolve()
    temporary = temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{path}: can't be written ({reason}); choose another place, or make room."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_name(target: Path) -> Path:
    """Return a hidden path beside `target` that names this process; no two calls give the same.

    It is no name of `tempfile`: the path must be in the folder of `target`, since a rename is
    atomic only inside one file system, and must say whose it is, so that leftovers are recognised.
    """
    owner = f"{platform.node()}-{os.getpid()}-{_started(os.getpid())}.{secrets.token_hex(4)}"
    return target.with_name(f".{target.name}.{owner}{_PART}")


def remove_stale(target: Path) -> None:
    """Remove the temporary files and folders that dead processes left beside `target`."""
    for path in target.parent.glob(f"{glob.escape(f'.{target.name}.')}*{_PART}"):
        if _is_dead(path.name):
            remove_tree(path)


def remove_stale_in(folder: Path) -> None:
    """Remove the temporary files and folders that dead processes left directly in a folder."""
    for path in folder.glob(f".*{_PART}"):
        if _is_dead(path.name):
            remove_tree(path)


def is_temporary(name: str) -> bool:
    """Return whether a file of this name is a lock or a temporary file of gp, and no content."""
    is_lock = name.startswith(".") and name.endswith(LOCK_SUFFIX)
    return is_lock or _TEMPORARY.fullmatch(name) is not None


def remove_tree(path: Path) -> None:
    """Delete a file, or a folder with its content, as far as the system allows."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _is_dead(name: str) -> bool:
    """Return whether the process in a temporary name has ended; False for another machine's.

    A process number may be in use again, so the start of the process is compared, too.
    """
    import psutil

    match = _TEMPORARY.fullmatch(name)
    if match is None or f".{platform.node()}-{match['pid']}-" not in name:
        return False
    pid = int(match["pid"])
    try:
        return abs(_started(pid) - int(match["started"])) > _CLOCK
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _started(pid: int) -> int:
    """Return when a process started, in seconds; this one's start is read once."""
    return _read_start_once(pid) if pid == os.getpid() else _read_start(pid)


@cache
def _read_start_once(pid: int) -> int:
    return _read_start(pid)


def _read_start(pid: int) -> int:
    import psutil

    return int(psutil.Process(pid).create_time())


def relative_path(folder: Path, path: Path) -> str:
    """Return the path relative to a folder, with forward slashes, as records hold it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def refuse_unwritable_file(path: Path) -> None:
    """Raise `UsageError` where no file can be written to `path`."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, where a file should be written; name a file.")
    refuse_unwritable_folder(path)


def refuse_occupied(folder: Path, *, ours: Sequence[str], overwrite: bool) -> None:
    """Raise `UsageError` unless `folder` is free, or one of gp's and `overwrite` is set.

    `ours` holds names of files that only gp writes: a folder without any is never replaced.
    """
    if folder.is_file():
        raise UsageError(f"{folder}: is a file; name a folder with -o.")
    refuse_unwritable_folder(folder)
    if not is_occupied(folder):
        return
    if not overwrite:
        raise UsageError(f"{folder}: is not empty; choose another folder or say --overwrite.")
    if not any((folder / name).exists() for name in ours):
        raise UsageError(
            f"{folder}: is not empty and holds nothing that globalprune wrote "
            f"({' or '.join(ours)}), so --overwrite won't touch it; choose another folder."
        )


def is_occupied(folder: Path) -> bool:
    """Return whether a folder holds more than locks and temporary files of gp."""
    return folder.is_dir() and not all(is_temporary(path.name) for path in folder.iterdir())


def refuse_unwritable_folder(path: Path) -> None:
    """Raise `UsageError` unless `path` is a folder that may be written into, or can be made."""
    place = path.absolute()
    if place.is_dir() and os.access(place, os.W_OK):
        return
    above = next(part for part in (place, *place.parents) if part.exists() and part != place)
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = "is a file" if above.is_file() else "may not be written into"
        raise UsageError(f"{path}: can't be made, since {above} {what}; choose another place.")


def refuse_inside_model(out: Path, model: Path) -> None:
    """Raise `UsageError` where `out` lies in the model's own folder, which is only read."""
    folder = model.resolve()
    if folder.is_dir() and out.resolve().is_relative_to(folder):
        raise UsageError(f"{out}: lies inside the model's folder {folder}; choose another with -o.")


def current_umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
