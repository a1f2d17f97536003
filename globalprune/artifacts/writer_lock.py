"""A lock that lets one run at a time write to a place, and that ends with its process.

The lock is a hidden file beside the place, held by flock, and names its holder. It is removed at
the end; nobody holds one that a killed run left, and the next run takes it over.
"""

import functools
import inspect
import json
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from globalprune.artifacts.disk import LOCK_SUFFIX, refuse_unwritable_folder
from globalprune.artifacts.records import digest_bytes
from globalprune.artifacts.staging import recover_place
from globalprune.errors import UsageError

if sys.platform != "win32":
    import fcntl

_LONG_NAME: Final = 200  # characters; a system takes 255 bytes with what is added
_PATIENCE: Final = 20  # reads of a lock whose holder is about to write its process number
_log = logging.getLogger(__name__)
_guard = threading.Lock()

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Held:
    """A lock that this process holds: by which thread, since when, and how often entered."""

    thread: int
    since: str
    depth: int = 1


_held: dict[Path, _Held] = {}


@contextmanager
def writer_lock(place: Path, *, ranks_share: bool = False) -> Iterator[None]:
    """Hold the lock on the file or folder `place`; the thread that holds it may enter again.

    Raise `UsageError` at once where another run holds it, the folder around it or something
    directly in it, or where this process is one of several ranks. With `ranks_share` several ranks
    are allowed, and rank 0 holds the lock for all.
    """
    if not ranks_share:
        refuse_distributed()
    elif _rank() != 0:
        yield
        return
    target = place.expanduser().resolve()
    if _enter(place, target):
        try:
            yield
        finally:
            _held[target].depth -= 1
        return
    made: list[Path] = []
    descriptor, lock = None, None
    try:
        refuse_unwritable_folder(target)
        made = _make_above(target)
        lock = _lock_of(target)
        descriptor = _acquire(place, lock)
        _refuse_around(target)
        recover_place(target)
        yield
    finally:
        if descriptor is not None and lock is not None:
            with suppress(OSError):
                lock.unlink(missing_ok=True)  # before it is released, or it could be another run's
            os.close(descriptor)
        with _guard:
            del _held[target]
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # where nothing was written


def holds_writer_lock(
    parameter: str, *, ranks_share: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function to hold the lock on the place in its argument `parameter`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def locked(*args: P.args, **kwargs: P.kwargs) -> R:
            place = signature.bind(*args, **kwargs).arguments[parameter]
            with writer_lock(place, ranks_share=ranks_share):
                return function(*args, **kwargs)

        return locked

    return decorate


def refuse_distributed() -> None:
    """Raise `UsageError` in a process that a launcher started as one of several."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count.isdigit() and int(count) > 1:
        raise UsageError(
            f"this is one of {count} processes of a launcher (WORLD_SIZE), and only gp finetune "
            "shares its work among them; start the command without torchrun or accelerate launch."
        )


def _rank() -> int:
    """Return the rank of this process among a launcher's; 0 without one."""
    rank = os.environ.get("RANK", "0")
    return int(rank) if rank.isdigit() else 0


def _enter(place: Path, target: Path) -> bool:
    """Return whether this thread holds the lock already; raise where another thread does."""
    with _guard:
        held = _held.get(target)
        if held is None:
            _held[target] = _Held(threading.get_ident(), _now())
            return False
        if held.thread != threading.get_ident():
            raise _busy(place, {"pid": os.getpid(), "started": held.since})
        held.depth += 1
        return True


def _make_above(target: Path) -> list[Path]:
    """Make the folders above the place; return the new ones, the deepest first."""
    missing = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _lock_of(target: Path) -> Path:
    """Return the lock's file: beside the place, or in it where its parent is not writable."""
    name = target.name
    if len(name) > _LONG_NAME:
        name = name[:_LONG_NAME] + digest_bytes(name.encode())[-8:]
    if target.is_dir() and not os.access(target.parent, os.W_OK):
        return target / LOCK_SUFFIX
    return target.with_name(f".{name}{LOCK_SUFFIX}")


def _acquire(place: Path, lock: Path) -> int | None:
    """Open and lock the file; warn and return None where the file system has no locks."""
    if sys.platform == "win32":
        return None
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(place, _holder(descriptor)) from error
        except OSError as error:
            os.close(descriptor)
            with suppress(OSError):
                lock.unlink(missing_ok=True)
            _log.warning(
                "note: %s: its file system knows no locks (%s), so nothing keeps a second run from "
                "writing there too; see that none does.", place, error.strerror,
            )  # fmt: skip
            return None
        if _is_at(descriptor, lock):
            holder = {"pid": os.getpid(), "started": _now(), "host": platform.node()}
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(holder).encode())
            return descriptor
        os.close(descriptor)  # its holder removed it after the open


def _refuse_around(target: Path) -> None:
    """Raise `UsageError` where another run holds the folder around, or something directly in it.

    Each of two such runs takes its own lock before it checks, so one of them sees the other.
    """
    if sys.platform == "win32":
        return
    with _guard:
        own = {_lock_of(held) for held in _held}
    inside = sorted(target.glob(f".*{LOCK_SUFFIX}")) if target.is_dir() else []
    for lock in (_lock_of(target.parent), *inside):
        if lock in own:
            continue
        try:
            descriptor = os.open(lock, os.O_RDONLY)
        except OSError:  # it is absent, or another user's and not readable
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held = target.parent if lock.parent != target else target
            raise _busy(held, _holder(descriptor)) from error
        except OSError:  # it has no locks; `_acquire` warned
            os.close(descriptor)
        else:
            os.close(descriptor)


def _is_at(descriptor: int, lock: Path) -> bool:
    """Return whether the open file is still the one of that name."""
    try:
        named = lock.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _holder(descriptor: int) -> dict[str, object]:
    """Read and close a lock of another holder: its process, start and host; it may lag a moment."""
    try:
        for _ in range(_PATIENCE):
            with suppress(ValueError):
                holder = json.loads(os.pread(descriptor, 4096, 0))
                if isinstance(holder, dict):
                    return holder
            time.sleep(0.01)
        return {}
    finally:
        os.close(descriptor)


def _busy(place: Path, holder: dict[str, object]) -> UsageError:
    """Return the error that names the process that writes there."""
    host = holder.get("host", platform.node())
    where = "" if host == platform.node() else f" on {host}"
    return UsageError(
        f"{place}: another gp writes there: process {holder.get('pid', 'unknown')}{where}, started "
        f"{holder.get('started', 'a moment ago')}; wait until it ends, or choose another place."
    )


def _now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
