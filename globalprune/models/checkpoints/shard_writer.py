"""Writes tensors as safetensors shards while they come: memory holds one shard, not the model."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from globalprune.artifacts.disk import current_umask
from globalprune.models.checkpoints.file_bytes import (
    INDEX_FILE,
    METADATA,
    index_text,
    split_tensors,
)


class ShardWriter:
    """Takes the promised tensors in order; a shard goes to disk when its last tensor has come.

    `promised` gives the bytes of each. A tensor larger than a shard gets one of its own.
    """

    def __init__(self, folder: Path, promised: Mapping[str, int]) -> None:
        self._folder = folder
        self._split = split_tensors(promised)
        self._held: dict[str, dict[str, torch.Tensor]] = {}
        self._missing = set(promised)
        self._parameters = 0

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor; it must be one of the promised."""
        filename = self._split.tensor_to_filename[name]
        held = self._held.setdefault(filename, {})
        held[name] = tensor
        self._missing.discard(name)
        self._parameters += tensor.numel()
        if len(held) == len(self._split.filename_to_tensors[filename]):
            path = self._folder / filename
            save_file(self._held.pop(filename), path, metadata=METADATA)
            path.chmod(0o666 & ~current_umask())  # safetensors leaves it to its owner alone

    def finish(self) -> None:
        """Write the index, if there is more than one shard."""
        if self._missing:
            raise ValueError(f"tensors were promised but never came: {sorted(self._missing)}")
        if self._split.is_sharded:
            text = index_text(self._split, self._parameters)
            (self._folder / INDEX_FILE).write_text(text, encoding="utf-8")
