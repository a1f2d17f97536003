"""How files and folders get to disk: whole or not at all, and never over what isn't ours."""

import glob
import os
import platform
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from globalprune.errors import UsageError

_PART = ".part"
_OLD = ".old"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, then rename: readers see the old file or the new, never half of one."""
    with temporary_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Hand out a path beside `path`; rename it onto `path` if all ends well, else remove it.

    A link is followed, so that what it leads to is written and the link stays. Raise `UsageError`
    where the system won't write.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}{_PART}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
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


def way_from(folder: Path, path: Path) -> str:
    """The relative way from a folder to a path, as files of ours write it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def refuse_impossible(path: Path) -> None:
    """Raise `UsageError` where no file can be made at `path`, before the work for it is done."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, where a file should be written; name a file.")
    _refuse_closed(path)


def refuse_occupied(folder: Path, *, ours: Sequence[str], overwrite: bool) -> None:
    """Raise `UsageError` unless `folder` is free, or ours and `overwrite` was said.

    `ours` names what marks a folder as one that we wrote: a stranger's folder is never replaced.
    """
    if folder.is_file():
        raise UsageError(f"{folder}: is a file; name a folder with -o.")
    _refuse_closed(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{folder}: is not empty; choose another folder or say --overwrite.")
    if not any((folder / name).exists() for name in ours):
        raise UsageError(
            f"{folder}: is not empty and holds nothing that globalprune wrote "
            f"({' or '.join(ours)}), so --overwrite won't touch it; choose another folder."
        )


def _refuse_closed(path: Path) -> None:
    """Raise `UsageError` unless what exists above `path` is a folder that may be written into."""
    place = path.absolute()
    above = next(part for part in (place, *place.parents) if part.exists() and part != place)
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = "is a file" if above.is_file() else "may not be written into"
        raise UsageError(f"{path}: can't be made, since {above} {what}; choose another place.")


def refuse_inside(out: Path, model: Path) -> None:
    """Raise `UsageError` where `out` lies in the model's own folder, which is only read."""
    folder = model.resolve()
    if folder.is_dir() and out.resolve().is_relative_to(folder):
        raise UsageError(f"{out}: lies inside the model's folder {folder}; choose another with -o.")


@contextmanager
def staged_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Hand out an empty folder beside `target` that takes its place if the block ends well.

    Raise `UsageError` where something lies there by then, unless `replace` was said. What a killed
    process of this machine left behind on its way to `target` is cleared away first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_orphans(target)
    # the name is known before the folder exists, so that no interruption can leave it behind
    own = f"{os.getpid()}.{secrets.token_hex(4)}{_PART}"
    staging = target.with_name(_staging_prefix(target) + own)
    try:
        staging.mkdir()
        yield staging
        move_into_place(staging, target, replace=replace)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def move_into_place(folder: Path, target: Path, *, replace: bool) -> None:
    """Rename a whole folder onto `target`, on the same disk.

    Raise `UsageError` where something lies there by now, unless `replace` was said.
    """
    if not replace and target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target}: was filled by another program meanwhile; choose another.")
    _replace_folder(folder, target)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no half of it is ever seen under its name."""
    if folder.exists():
        own = f"{os.getpid()}.{secrets.token_hex(4)}{_PART}"
        doomed = folder.with_name(_staging_prefix(folder) + own)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _staging_prefix(target: Path) -> str:
    """What the names of staging folders begin with; a process number means one machine's."""
    return f".{target.name}.{platform.node()}-"


def _clear_orphans(target: Path) -> None:
    """Remove the staging folders of processes that are no more."""
    import psutil

    prefix = _staging_prefix(target)
    for folder in target.parent.glob(f"{glob.escape(prefix)}*{_PART}*"):
        number = folder.name.removeprefix(prefix).partition(".")[0]
        if not number.isdigit() or psutil.pid_exists(int(number)):
            continue
        if folder.name.endswith(_OLD) and not target.exists():
            folder.rename(target)  # it died between the two renames
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _replace_folder(staging: Path, target: Path) -> None:
    """Rename onto `target`; what stood there is deleted only once the new folder is in place."""
    if not target.exists():
        staging.rename(target)
        return
    own = f"{os.getpid()}.{secrets.token_hex(4)}{_PART}{_OLD}"
    old = target.with_name(_staging_prefix(target) + own)
    try:
        target.rename(old)
        staging.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def current_umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
