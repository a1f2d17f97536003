"""Where a file came from and how it gets to disk: digests, and writes that happen whole or not."""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from globalprune.errors import UsageError

PREFIX = "sha256:"
RECORDED_TOOLS = ("globalprune", "torch", "transformers", "datasets", "tokenizers", "pyarrow")
OWN_FOLDER = "globalprune"


def digest_bytes(*parts: bytes | memoryview) -> str:
    """`sha256:…` of the parts, one after the other."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return PREFIX + state.hexdigest()


def digest_json(value: Any) -> str:
    """`sha256:…` of a JSON value in its one canonical spelling."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(canonical.encode())


def tool_versions() -> dict[str, str]:
    """The versions of Python and of every library that can change a figure."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_TOOLS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, then rename: readers see the old file or the new, never half of one."""
    with temporary_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Hand out a path beside `path`; rename it onto `path` if all ends well, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_occupied(folder: Path, *, ours: Sequence[str], overwrite: bool) -> None:
    """Raise `UsageError` unless `folder` is free, or ours and `overwrite` was said.

    `ours` names what marks a folder as one that we wrote: a stranger's folder is never replaced.
    """
    if folder.is_file():
        raise UsageError(f"{folder}: is a file; name a folder with -o.")
    above = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = "is a file" if above.is_file() else "may not be written into"
        raise UsageError(f"{folder}: can't be made, since {above} {what}; choose another folder.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{folder}: is not empty; choose another folder or say --overwrite.")
    if not any((folder / name).exists() for name in ours):
        raise UsageError(
            f"{folder}: is not empty and holds nothing that globalprune wrote "
            f"({' or '.join(ours)}), so --overwrite won't touch it; choose another folder."
        )


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Hand out an empty folder beside `target` that takes its place if the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    staging.chmod(0o777 & ~_umask())
    try:
        yield staging
        _replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace_folder(staging: Path, target: Path) -> None:
    """Rename onto `target`; what stood there is deleted only once the new folder is in place."""
    if not target.exists():
        staging.rename(target)
        return
    old = target.with_name(f"{staging.name}.old")
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
