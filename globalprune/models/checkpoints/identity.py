"""What a model is: digests of all its files that decide what it computes, each by its name.

Whatever transformers, peft or this package may act on counts: weights, config, generation config,
tokenizer, chat templates, code, adapters. Files for people and weights in other formats don't.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.records import digest_json
from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.file_digests import digests_of
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.source import ModelSource
from globalprune.progress import Progress, silent

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
        return ModelIdentity({"gguf": digests_of([source.path], progress)[0]})
    files = {path.relative_to(source.path).as_posix(): path for path in _deciding(source.path)}
    files |= _elsewhere(source.path, files)
    if source.adapter is not None and source.adapter != source.path:
        own = source.adapter
        files |= {f"adapter/{path.relative_to(own).as_posix()}": path for path in _deciding(own)}
    settings = {name: _settings(path) for name, path in files.items()}
    unspelled = {name: path for name, path in files.items() if settings[name] is None}
    digests = digests_of(list(unspelled.values()), progress)
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
