"""Shards of safetensors: written one by one, and their sizes computed in advance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from huggingface_hub.serialization._base import StateDictSplit
from safetensors.torch import save_file

from globalprune.artifacts.disk import current_umask

MAX_SHARD_BYTES = 5 * 10**9
INDEX_FILE: Final = "model.safetensors.index.json"
METADATA: Final = {"format": "pt"}
_PATTERN: Final = "model{suffix}.safetensors"
_LENGTH: Final = 8  # bytes in front of a header, and what its length is a multiple of
_ORDER: Final = (  # of safetensors' own enumeration; the last come first in a file
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "I16", "U16", "F16", "BF16", "I32", "U32", "F32",
    "F64", "I64", "U64",
)  # fmt: skip
_LONGEST_DTYPE: Final = "BF16"  # of those that tensors are converted to


class StoredTensor(Protocol):
    """A tensor as a header describes it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...

    @property
    def dtype(self) -> str:
        """By safetensors' own name."""
        ...

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        ...

    @property
    def bytes(self) -> int:
        """What its numbers take."""
        ...


def split_tensors(sizes: Mapping[str, int]) -> StateDictSplit:
    """Which tensor goes into which file of at most `MAX_SHARD_BYTES`; `sizes` are bytes."""
    return split_state_dict_into_shards_factory(
        dict(sizes),
        get_storage_size=lambda size: size,
        filename_pattern=_PATTERN,
        max_shard_size=MAX_SHARD_BYTES,
    )


def index_text(split: StateDictSplit, parameters: int) -> str:
    """The index of several shards, as save_pretrained has it."""
    metadata = split.metadata | {"total_parameters": parameters}
    index = {"metadata": metadata, "weight_map": split.tensor_to_filename}
    return json.dumps(index, indent=2, sort_keys=True) + "\n"


def weight_file_bytes(tensors: Mapping[str, StoredTensor]) -> int:
    """All that files of these tensors take: headers, numbers, and the index of several."""
    split = split_tensors({name: one.bytes for name, one in tensors.items()})
    total = sum(
        _header_bytes({name: tensors[name] for name in names})
        for names in split.filename_to_tensors.values()
    )
    total += sum(one.bytes for one in tensors.values())
    return total + _index_bytes(split, tensors)


def max_overhead_bytes(tensors: Mapping[str, StoredTensor]) -> int:
    """What headers and index take at most, whatever is cut and whatever floats are converted to."""
    wide = {name: max(one.bytes, 4 * one.parameters) for name, one in tensors.items()}
    split = split_tensors(wide)
    end = sum(wide.values())
    entries = {
        name: {
            "dtype": max(one.dtype, _LONGEST_DTYPE, key=len),
            "shape": one.shape,
            "data_offsets": [end, end],
        }
        for name, one in tensors.items()
    }
    shards = len(split.filename_to_tensors)
    alone = len(_json({"__metadata__": METADATA})) + 2 * _LENGTH  # also of a shard more
    several = shards + 1 if shards > 1 else 1
    return len(_json(entries)) + several * alone + _index_bytes(split, tensors)


def _header_bytes(tensors: Mapping[str, StoredTensor]) -> int:
    """The header of one file, and the length in front of it."""
    header: dict[str, object] = {"__metadata__": METADATA}
    begin = 0
    for name in sorted(tensors, key=lambda name: (-_ORDER.index(tensors[name].dtype), name)):
        one = tensors[name]
        end = begin + one.bytes
        header[name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": [begin, end]}
        begin = end
    length = len(_json(header))
    return _LENGTH + length + -length % _LENGTH


def _index_bytes(split: StateDictSplit, tensors: Mapping[str, StoredTensor]) -> int:
    """The index, if there is more than one file."""
    if not split.is_sharded:
        return 0
    return len(index_text(split, sum(one.parameters for one in tensors.values())).encode())


def _json(value: object) -> bytes:
    """As safetensors writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


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
