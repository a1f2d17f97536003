"""The identity of a model on disk: a digest of every file that decides what it computes.

Digests of large files are cached by path, size and time.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.records import PREFIX, digest_json
from globalprune.errors import CheckpointError, UsageError
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.source import ModelSource
from globalprune.progress import Progress, silent

CACHE_VARIABLE: Final = "GLOBALPRUNE_CACHE"
CACHED_SIZE: Final = 2**20  # bytes: smaller files are read each time
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


def file_digests(files: Sequence[Path], progress: Progress = silent) -> list[str]:
    """`sha256:…` of every byte of each file; links are followed.

    Raise `UsageError` for a file that can't be read, or that changes meanwhile.
    """
    found = {path: _known(path) for path in files}
    unread = [path for path, digest in found.items() if digest is None]
    blocks = sum(max(1, -(-path.stat().st_size // _BLOCK)) for path in unread)
    reading = _read_all(unread)
    if any(path.stat().st_size >= CACHED_SIZE for path in unread):
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
    if after.st_size >= CACHED_SIZE and begun - max(after.st_mtime_ns, after.st_ctime_ns) > _BLUR:
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
    if facts["size"] < CACHED_SIZE or key in _taken:
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


_PASSED_OVER: Final = (
    ".*", "*.md", "license*", "licence*", "notice*", "*use_policy*", "*.log",
    "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.pdf",
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack", "*.onnx",
    "*.onnx_data", "*.gguf", "*.pyc", "consolidated*.safetensors",
)  # fmt: skip
_FOLDERS: Final = ("additional_chat_templates",)
_SPELLED: Final = ("config.json", "generation_config.json", ADAPTER_CONFIG)  # told key by key
_SPELLED_BYTES: Final = 2**20
_INDEX: Final = ".index.json"
_SHOWN: Final = 5


@dataclass(frozen=True)
class ModelIdentity:
    """What decides what a model computes: for each file its digest, or its settings one by one."""

    files: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of all of it."""
        return digest_json(dict(self.files))


def identify_model(source: ModelSource, progress: Progress = silent) -> ModelIdentity:
    """Take the digests of a model's files; a .gguf file is all that it needs.

    An adapter counts with its base model.
    """
    if source.is_gguf:
        return ModelIdentity({"gguf": file_digests([source.path], progress)[0]})
    files = {path.relative_to(source.path).as_posix(): path for path in _deciding(source.path)}
    files |= _elsewhere(source.path, files)
    if source.adapter is not None and source.adapter != source.path:
        own = source.adapter
        files |= {f"adapter/{path.relative_to(own).as_posix()}": path for path in _deciding(own)}
    settings = {name: _settings(path) for name, path in files.items()}
    unspelled = {name: path for name, path in files.items() if settings[name] is None}
    digests = file_digests(list(unspelled.values()), progress)
    taken = dict(zip(unspelled, digests, strict=True))
    return ModelIdentity({name: taken.get(name, settings[name]) for name in sorted(files)})


def refuse_changed(source: ModelSource, before: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless a model's files still are what they were when work began."""
    after = identify_model(source).files
    names = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
    if names:
        raise CheckpointError(
            f"{source.name}: changed while it was read ({', '.join(names[:_SHOWN])}), so that what "
            "was made of it would be of two models; see that nothing writes to it, and begin anew."
        )


def _deciding(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that may decide something."""
    for above in (folder, *(folder / name for name in _FOLDERS)):
        for path in above.iterdir() if above.is_dir() else ():
            name = path.name.lower()
            if path.is_file() and not any(fnmatchcase(name, one) for one in _PASSED_OVER):
                yield path


def _elsewhere(folder: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """Shards that an index names in other folders."""
    named: set[str] = set()
    for name, path in files.items():
        if name.endswith(_INDEX):
            shards = (_parsed(path) or {}).get("weight_map")
            if isinstance(shards, dict):
                named |= {shard for shard in shards.values() if isinstance(shard, str)}
    return {
        name: folder / name for name in named if name not in files and (folder / name).is_file()
    }


def _settings(path: Path) -> dict[str, Any] | None:
    """The settings of a file that is told key by key, if it is one and can be read."""
    if path.name not in _SPELLED or path.stat().st_size > _SPELLED_BYTES:
        return None
    return _parsed(path)


def _parsed(path: Path) -> dict[str, Any] | None:
    """A JSON object; None for what is none, or too deep to be compared."""
    try:
        value = json.loads(path.read_bytes())
        digest_json(value)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
