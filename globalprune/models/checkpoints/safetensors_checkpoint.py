"""A folder of safetensors, single or sharded, read through memory maps.

Everything that is wrong with the folder is said when it is opened. No weight is read for that, but
for a head stored beside the embedding that it should be tied to; torch loads with the first one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.configs.raw_config import read_config
from globalprune.models.sources.source import ModelSource

if TYPE_CHECKING:
    import torch

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_EMBEDDING = "model.embed_tokens.weight"
_HEAD = "lm_head.weight"
_RECOMPUTED = "rotary_emb.inv_freq"  # a buffer that old checkpoints carry
_AGAIN = "download or save the model again."


@dataclass(frozen=True)
class SafetensorsCheckpoint:
    """Headers of all shards; tensors are read from the maps one by one."""

    source: ModelSource
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    files: Mapping[str, Path]  # the shard of every tensor

    @classmethod
    def open(cls, source: ModelSource) -> "SafetensorsCheckpoint":
        """Read config and headers; raise `CheckpointError` for all that can't be used."""
        config = read_config(source.path / "config.json")
        tensors: dict[str, TensorInfo] = {}
        files: dict[str, Path] = {}
        for shard in _shards(source.path):
            headers = _read_header(shard)
            tensors |= headers
            files |= dict.fromkeys(headers, shard)
        for name in _superfluous(config, files):
            del tensors[name]
        return cls(source, config, tensors, files)

    @property
    def parameters(self) -> int:
        """The number of parameters, tied tensors counted once."""
        return sum(info.parameters for info in self.tensors.values())

    @property
    def companions(self) -> Path | None:
        """The folder itself."""
        return self.source.path

    def read(self, name: str) -> "torch.Tensor":
        """One tensor, mapped from its file: only the pages that are touched are loaded."""
        return _read_tensor(self.files[name], name)


def _shards(folder: Path) -> list[Path]:
    """The weight files of a folder, each known to exist."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if (folder / INDEX_FILE).is_file():
        return _indexed_shards(folder / INDEX_FILE)
    pickles = sorted(path.name for path in folder.glob("*.bin*"))
    if pickles:
        raise CheckpointError(
            f"{folder}: only pickle weights ({', '.join(pickles[:3])}), which are not read because "
            "a pickle can run code; convert them with save_pretrained(safe_serialization=True)."
        )
    raise CheckpointError(
        f"{folder}: neither {SINGLE_FILE} nor {INDEX_FILE}; download the safetensors weights. If "
        "the model has only pickle weights (*.bin), convert them with "
        "save_pretrained(safe_serialization=True)."
    )


def _indexed_shards(index: Path) -> list[Path]:
    """The shards that an index names; what it promises must be there."""
    try:
        weight_map: dict[str, str] = dict(
            json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        )
        shards = sorted({index.parent / file for file in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{index}: is no index of safetensors ({error!r}); {_AGAIN}"
        ) from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(f"{index}: shards that aren't there: {_some(missing)}; {_AGAIN}")
    held = {(shard.name, name) for shard in shards for name in _read_header(shard)}
    absent = [name for name, file in weight_map.items() if (Path(file).name, name) not in held]
    if absent:
        raise CheckpointError(f"{index}: tensors that no shard holds: {_some(absent)}; {_AGAIN}")
    return shards


def _read_header(shard: Path) -> dict[str, TensorInfo]:
    """Names, shapes and dtypes of one file; as numpy would read it, since that loads no torch."""
    try:
        with safe_open(shard, framework="np") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: TensorInfo(tuple(view.get_shape()), view.get_dtype())
                for name, view in views.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{shard}: is no whole safetensors file ({error}); {_AGAIN}"
        ) from error


def _superfluous(config: dict[str, Any], files: Mapping[str, Path]) -> list[str]:
    """Stored tensors that are no parameters of their own."""
    names = [name for name in files if name.endswith(_RECOMPUTED)]
    tied = bool(config.get("tie_word_embeddings", False)) and {_EMBEDDING, _HEAD} <= files.keys()
    # transformers unties a head whose values differ, whatever the config says; so do we
    if tied and _read_tensor(files[_EMBEDDING], _EMBEDDING).equal(
        _read_tensor(files[_HEAD], _HEAD)
    ):
        names.append(_HEAD)
    return names


def _read_tensor(file: Path, name: str) -> "torch.Tensor":
    """One tensor of one file."""
    try:
        with safe_open(file, framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
            return tensor
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: {name} can't be read ({error}); {_AGAIN}") from error


def _some(names: list[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"  # noqa: PLR2004
