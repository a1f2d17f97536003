"""The identity of a model on disk, and the fingerprint of its weights.

The identity digests every file that decides what the model computes; digests of large files are
cached by path, size and time. The fingerprint digests the tensors, however files divide them.
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
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.formatting import first_few
from globalprune.artifacts.records import DIGEST_PREFIX, digest_json
from globalprune.errors import CheckpointError, UsageError
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.source import ModelSource
from globalprune.progress import Progress, silent

if TYPE_CHECKING:
    import torch

CACHE_VARIABLE: Final = "GLOBALPRUNE_CACHE"
CACHED_SIZE: Final = 2**20  # bytes: smaller files are read each time
FULL_PREFIX: Final = "sha256-full:"  # of a fingerprint of every byte
_CACHE_FOLDER: Final = "digests"
_BLOCK_BYTES: Final = 2**26
_TIME_RESOLUTION: Final = 2 * 10**9  # nanoseconds: within them two changes may have the same time
_IGNORED: Final = (
    ".*", "*.md", "license*", "licence*", "notice*", "*use_policy*", "*.log",
    "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.pdf",
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack", "*.onnx",
    "*.onnx_data", "*.gguf", "*.pyc", "consolidated*.safetensors",
)  # fmt: skip
_SUBFOLDERS: Final = ("additional_chat_templates",)
_RECORDED_WHOLE: Final = ("config.json", "generation_config.json", ADAPTER_CONFIG)
_RECORDED_BYTES: Final = 2**20  # larger ones have a digest
_INDEX_SUFFIX: Final = ".index.json"
_SAMPLED_BLOCKS: Final = 4
_ROWS_PER_BLOCK: Final = 4
_HASHED_WHOLE: Final = 65_536  # bytes: smaller tensors (norms, biases) are hashed whole
_HASHED_AT_ONCE: Final = 1 << 26  # bytes
_digests: dict[str, str] = {}  # of this process, by key


@dataclass(frozen=True)
class ModelIdentity:
    """What decides what a model computes: each file's digest, or the settings in it."""

    files: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of all of it."""
        return digest_json(dict(self.files))


def identify_model(source: ModelSource, progress: Progress = silent) -> ModelIdentity:
    """Digest a model's files; an adapter counts with its base model, and a .gguf file alone.

    Raise `UsageError` for a file that can't be read, or that changes meanwhile.
    """
    if source.is_gguf:
        return ModelIdentity({"gguf": file_digests([source.path], progress)[0]})
    files = {path.relative_to(source.path).as_posix(): path for path in _list_files(source.path)}
    files |= _list_outer_shards(source.path, files)
    if source.adapter is not None and source.adapter != source.path:
        own = source.adapter
        files |= {f"adapter/{path.relative_to(own).as_posix()}": path for path in _list_files(own)}
    settings = {name: _read_settings(path) for name, path in files.items()}
    others = {name: path for name, path in files.items() if settings[name] is None}
    digests = dict(zip(others, file_digests(list(others.values()), progress), strict=True))
    return ModelIdentity({name: digests.get(name, settings[name]) for name in sorted(files)})


def refuse_changed(source: ModelSource, before: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless a model's files are still those of `ModelIdentity.files`."""
    after = identify_model(source).files
    names = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
    if names:
        raise CheckpointError(
            f"{source.name}: changed while it was read ({first_few(names)}), so that what was made "
            "of it would be of two models; see that nothing writes to it, and begin anew."
        )


def weights_fingerprint(checkpoint: Checkpoint, *, full: bool = False) -> str:
    """Return `sha256:…` of names, dtypes, shapes and sampled rows; `full` hashes every byte."""
    state = hashlib.sha256()
    for name, info in sorted(checkpoint.tensors.items()):
        state.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        tensor = checkpoint.read(name)
        for part in _chunks(tensor) if full else _sampled_blocks(name, tensor):
            state.update(_to_bytes(part))
    return (FULL_PREFIX if full else DIGEST_PREFIX) + state.hexdigest()


def cache_folder() -> Path:
    """Return the folder of all that `gp` caches between runs, which may be deleted at any time."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "globalprune"


def file_digests(files: Sequence[Path], progress: Progress = silent) -> list[str]:
    """Return `sha256:…` of every byte of each file; links are followed.

    Raise `UsageError` for a file that can't be read, or that changes meanwhile.
    """
    digests = {path: _cached_digest(path) for path in files}
    unread = [path for path, digest in digests.items() if digest is None]
    blocks = sum(max(1, -(-path.stat().st_size // _BLOCK_BYTES)) for path in unread)
    reading = _read_files(unread)
    if any(path.stat().st_size >= CACHED_SIZE for path in unread):
        reading = progress(reading, total=blocks, label="reading weights", unit="blocks")
    digests |= {path: digest for path, digest in reading if digest is not None}
    return [digest for path in files if (digest := digests[path]) is not None]


def _read_files(files: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    """Read files block by block; yield a file's digest with its last block, None before."""
    for path in files:
        try:
            yield from _read_file(path)
        except OSError as error:
            raise UsageError(f"{path}: can't be read ({error.strerror or error}).") from error


def _read_file(path: Path) -> Iterator[tuple[Path, str | None]]:
    """Read one file, and cache its digest if it is large and wasn't changed just before."""
    start = time.time_ns()
    state = hashlib.sha256()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        block = file.read(_BLOCK_BYTES)
        while block:
            state.update(block)
            following = file.read(_BLOCK_BYTES)
            if following:
                yield path, None
            block = following
        after = os.fstat(file.fileno())
    if _file_facts(before) != _file_facts(after):
        raise UsageError(f"{path}: changed while it was read; see that nothing writes to it.")
    digest = DIGEST_PREFIX + state.hexdigest()
    changed = max(after.st_mtime_ns, after.st_ctime_ns)
    if after.st_size >= CACHED_SIZE and start - changed > _TIME_RESOLUTION:
        _cache_digest(path, after, digest)
    yield path, digest


def _file_facts(status: os.stat_result) -> dict[str, int]:
    """Return the facts of a file that a change of it changes."""
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev,
    }


def _cached_digest(path: Path) -> str | None:
    """Return the cached digest of a large file that hasn't changed since, if there is one."""
    try:
        facts = _file_facts(path.stat())
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror or error}).") from error
    key = digest_json(facts)
    if facts["size"] < CACHED_SIZE or key in _digests:
        return _digests.get(key)
    with suppress(OSError, ValueError, TypeError, AttributeError):
        cached = json.loads(_cache_file(key).read_text("utf-8"))
        digest = cached.pop("digest")
        if isinstance(digest, str) and cached.pop("file") and cached == facts:
            _digests[key] = digest
            return digest
    return None


def _cache_digest(path: Path, status: os.stat_result, digest: str) -> None:
    """Cache a digest for this process and, where the cache can be written, for others."""
    facts = _file_facts(status)
    key = digest_json(facts)
    _digests[key] = digest
    text = json.dumps({"file": str(path.resolve()), **facts, "digest": digest}, indent=2) + "\n"
    with suppress(OSError, UsageError):
        write_atomically(_cache_file(key), text)


def _cache_file(key: str) -> Path:
    """Return the file of one cached digest."""
    return cache_folder() / _CACHE_FOLDER / f"{key.removeprefix(DIGEST_PREFIX)}.json"


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that may decide what the model computes."""
    for parent in (folder, *(folder / name for name in _SUBFOLDERS)):
        for path in parent.iterdir() if parent.is_dir() else ():
            name = path.name.lower()
            if path.is_file() and not any(fnmatchcase(name, pattern) for pattern in _IGNORED):
                yield path


def _list_outer_shards(folder: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the shards that an index names in other folders."""
    named: set[str] = set()
    for name, path in files.items():
        if name.endswith(_INDEX_SUFFIX):
            shards = (_parse_object(path) or {}).get("weight_map")
            if isinstance(shards, dict):
                named |= {shard for shard in shards.values() if isinstance(shard, str)}
    return {
        name: folder / name for name in named if name not in files and (folder / name).is_file()
    }


def _read_settings(path: Path) -> dict[str, Any] | None:
    """Return the content of a file that is recorded whole; None for all others."""
    if path.name not in _RECORDED_WHOLE or path.stat().st_size > _RECORDED_BYTES:
        return None
    return _parse_object(path)


def _parse_object(path: Path) -> dict[str, Any] | None:
    """Parse a JSON object; None for anything else, or where it is too deep to be compared."""
    try:
        value = json.loads(path.read_bytes())
        digest_json(value)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _sampled_blocks(name: str, tensor: "torch.Tensor") -> "list[torch.Tensor]":
    """Return a small tensor whole, else blocks of rows whose starts follow from its name."""
    if tensor.numel() * tensor.element_size() <= _HASHED_WHOLE:
        return [tensor]
    start_count = max(1, tensor.shape[0] - _ROWS_PER_BLOCK + 1)
    starts = (_hash_to_int(f"{name}/{block}") % start_count for block in range(_SAMPLED_BLOCKS))
    return [tensor[start : start + _ROWS_PER_BLOCK] for start in starts]


def _chunks(tensor: "torch.Tensor") -> "list[torch.Tensor]":
    """Return the whole tensor in pieces of bounded size."""
    flat = tensor.reshape(-1)
    step = _HASHED_AT_ONCE // tensor.element_size()
    return [flat[start : start + step] for start in range(0, len(flat), step)]


def _hash_to_int(text: str) -> int:
    """Return a number that depends on the text alone, on any machine and any Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _to_bytes(tensor: "torch.Tensor") -> bytes:
    """Return the stored bytes of any dtype, including those that numpy lacks."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
