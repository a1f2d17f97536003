"""Full digests of files; those of large ones are taken once and kept in the cache folder.

A kept digest stands under the file's size, times, inode and device. A file that was changed so
lately that its times can't tell another change is read anew. The cache folder may be deleted at any
time; where it can't be written, nothing is kept and nothing is said.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.records import PREFIX, digest_json
from globalprune.errors import UsageError
from globalprune.progress import Progress, silent

CACHE_VARIABLE: Final = "GLOBALPRUNE_CACHE"
LARGE: Final = 2**20  # bytes: smaller files are read each time
_BLOCK: Final = 2**26
_BLUR: Final = 2 * 10**9  # nanoseconds within which two changes may bear the same time
_FOLDER: Final = "digests"

_taken: dict[str, str] = {}  # of this process, by key


def cache_folder() -> Path:
    """Where all that `gp` caches for all its runs lies; nothing in it is ever missed."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "globalprune"


def digests_of(files: Sequence[Path], progress: Progress = silent) -> list[str]:
    """`sha256:…` of every byte of each file; links are followed.

    Raise `UsageError` for a file that can't be read, or that changes meanwhile.
    """
    found = {path: _known(path) for path in files}
    unread = [path for path, digest in found.items() if digest is None]
    blocks = sum(max(1, -(-path.stat().st_size // _BLOCK)) for path in unread)
    reading = _read_all(unread)
    if any(path.stat().st_size >= LARGE for path in unread):
        reading = progress(reading, total=blocks, label="reading weights", unit="blocks")
    found |= {path: digest for path, digest in reading if digest is not None}
    return [digest for path in files if (digest := found[path]) is not None]


def _read_all(files: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    """Read files block by block; with the last block of each comes its digest."""
    for path in files:
        try:
            yield from _read(path)
        except OSError as error:
            raise UsageError(f"{path}: can't be read ({error.strerror or error}).") from error


def _read(path: Path) -> Iterator[tuple[Path, str | None]]:
    """Read one file, and keep its digest if the file is large and at rest."""
    begun = time.time_ns()
    state = hashlib.sha256()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        block = file.read(_BLOCK)
        while block:
            state.update(block)
            following = file.read(_BLOCK)
            if following:
                yield path, None
            block = following
        after = os.fstat(file.fileno())
    if _facts(before) != _facts(after):
        raise UsageError(f"{path}: changed while it was read; see that nothing writes to it.")
    digest = PREFIX + state.hexdigest()
    if after.st_size >= LARGE and begun - max(after.st_mtime_ns, after.st_ctime_ns) > _BLUR:
        _keep(path, after, digest)
    yield path, digest


def _facts(status: os.stat_result) -> dict[str, int]:
    """What a change of a file changes."""
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev,
    }


def _known(path: Path) -> str | None:
    """The digest that was taken of a large file as it stands, if one was."""
    try:
        facts = _facts(path.stat())
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror or error}).") from error
    key = digest_json(facts)
    if facts["size"] < LARGE or key in _taken:
        return _taken.get(key)
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = json.loads(_place(key).read_text("utf-8"))
        digest = kept.pop("digest")
        if isinstance(digest, str) and kept.pop("file") and kept == facts:
            _taken[key] = digest
            return digest
    return None


def _keep(path: Path, status: os.stat_result, digest: str) -> None:
    """Keep a digest for this process and, where that can be, for others."""
    facts = _facts(status)
    key = digest_json(facts)
    _taken[key] = digest
    text = json.dumps({"file": str(path.resolve()), **facts, "digest": digest}, indent=2) + "\n"
    with suppress(OSError, UsageError):
        write_atomically(_place(key), text)


def _place(key: str) -> Path:
    """The file of one kept digest."""
    return cache_folder() / _FOLDER / f"{key.removeprefix(PREFIX)}.json"
