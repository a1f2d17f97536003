"""Shards of safetensors: written one by one, and their sizes computed in advance."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from huggingface_hub.serialization._base import StateDictSplit
from safetensors.torch import save_file

from globalprune.artifacts.disk import current_umask
from globalprune.artifacts.stored_weights import StoredWeights, stored_bytes
from globalprune.artifacts.structure import GroupType, LayerStructure, ModelStructure
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.checkpoints.safetensors_checkpoint import INDEX_FILE

MAX_SHARD_BYTES: Final = 5 * 10**9
_METADATA: Final = {"format": "pt"}
_FILE_PATTERN: Final = "model{suffix}.safetensors"
_LENGTH_BYTES: Final = 8  # in front of a header; the header's length is a multiple of it
_DTYPE_ORDER: Final = (  # of safetensors' own enumeration; the last come first in a file
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "I16", "U16", "F16", "BF16", "I32", "U32", "F32",
    "F64", "I64", "U64",
)  # fmt: skip
_LONGEST_DTYPE: Final = "BF16"  # of those that tensors are converted to
_MAX_FLOAT_BYTES: Final = 4  # likewise


class ShardWriter:
    """Takes the promised tensors and writes each shard when its last tensor has come.

    `promised` gives the bytes of each. A tensor larger than a shard gets one of its own.
    """

    def __init__(self, folder: Path, promised: Mapping[str, int]) -> None:
        self._folder = folder
        self._split = _split_tensors(promised)
        self._waiting: dict[str, dict[str, torch.Tensor]] = {}
        self._missing = set(promised)
        self._parameters = 0

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Take one of the promised tensors."""
        filename = self._split.tensor_to_filename[name]
        shard = self._waiting.setdefault(filename, {})
        shard[name] = tensor
        self._missing.discard(name)
        self._parameters += tensor.numel()
        if len(shard) == len(self._split.filename_to_tensors[filename]):
            path = self._folder / filename
            save_file(self._waiting.pop(filename), path, metadata=_METADATA)
            path.chmod(0o666 & ~current_umask())  # safetensors lets only the owner read it

    def finish(self) -> None:
        """Write the index, if there are several shards."""
        if self._missing:
            raise ValueError(f"tensors were promised but never came: {sorted(self._missing)}")
        if self._split.is_sharded:
            text = _index_text(self._split, self._parameters)
            (self._folder / INDEX_FILE).write_text(text, encoding="utf-8")


def stored_weights(
    checkpoint: Checkpoint, adapter: ModelAdapter, structure: ModelStructure
) -> StoredWeights:
    """Count the bytes of the weight files, and those that go with one group of each sublayer."""
    numbers: Counter[str] = Counter()
    for info in checkpoint.tensors.values():
        numbers[info.dtype] += info.parameters
    return StoredWeights(
        file_bytes=weight_file_bytes(checkpoint.tensors),
        overhead=max_overhead_bytes(checkpoint.tensors),
        numbers=dict(sorted(numbers.items())),
        group_bytes=tuple(
            (
                _group_bytes(checkpoint, adapter, index, layer, "attention"),
                _group_bytes(checkpoint, adapter, index, layer, "mlp"),
            )
            for index, layer in enumerate(structure.layers)
        ),
    )


def weight_file_bytes(tensors: Mapping[str, TensorInfo]) -> int:
    """Return the bytes of the files of these tensors: headers, elements, and the index."""
    split = _split_tensors({name: one.bytes for name, one in tensors.items()})
    total = sum(
        _header_bytes({name: tensors[name] for name in names})
        for names in split.filename_to_tensors.values()
    )
    total += sum(one.bytes for one in tensors.values())
    return total + _index_bytes(split, tensors)


def max_overhead_bytes(tensors: Mapping[str, TensorInfo]) -> int:
    """Return the most that headers and index take, whatever is cut and floats are converted to."""
    sizes = {
        name: max(one.bytes, _MAX_FLOAT_BYTES * one.parameters) for name, one in tensors.items()
    }
    split = _split_tensors(sizes)
    end = sum(sizes.values())
    entries = {
        name: {
            "dtype": max(one.dtype, _LONGEST_DTYPE, key=len),
            "shape": one.shape,
            "data_offsets": [end, end],
        }
        for name, one in tensors.items()
    }
    shards = len(split.filename_to_tensors)
    per_shard = len(_to_json({"__metadata__": _METADATA})) + 2 * _LENGTH_BYTES
    max_shards = shards + 1 if shards > 1 else 1  # a cut may fill the shards less well
    return len(_to_json(entries)) + max_shards * per_shard + _index_bytes(split, tensors)


def _group_bytes(
    checkpoint: Checkpoint,
    adapter: ModelAdapter,
    index: int,
    layer: LayerStructure,
    group_type: GroupType,
) -> int:
    """Return the bytes of one group; of experts stored in several dtypes, the fewest."""
    if not layer.sublayer(group_type).cost:
        return 0
    prefix = adapter.layer_prefix(index)
    by_first_group: Counter[int] = Counter()  # the groups of experts follow each other
    for axis in adapter.axes(layer, group_type):
        info = checkpoint.tensors[prefix + axis.tensor]
        axis_bytes = stored_bytes(info.parameters, info.dtype)
        by_first_group[axis.first] += axis_bytes // axis.groups(info.shape)
    return min(by_first_group.values())


def _split_tensors(sizes: Mapping[str, int]) -> StateDictSplit:
    """Divide tensors, by their bytes, among files of at most `MAX_SHARD_BYTES`."""
    return split_state_dict_into_shards_factory(
        dict(sizes),
        get_storage_size=lambda size: size,
        filename_pattern=_FILE_PATTERN,
        max_shard_size=MAX_SHARD_BYTES,
    )


def _index_text(split: StateDictSplit, parameters: int) -> str:
    """Return the index of several shards as save_pretrained writes it."""
    metadata = split.metadata | {"total_parameters": parameters}
    index = {"metadata": metadata, "weight_map": split.tensor_to_filename}
    return json.dumps(index, indent=2, sort_keys=True) + "\n"


def _header_bytes(tensors: Mapping[str, TensorInfo]) -> int:
    """Return the bytes of one file's header, with the length in front of it."""
    header: dict[str, object] = {"__metadata__": _METADATA}
    begin = 0
    for name in sorted(tensors, key=lambda name: (-_DTYPE_ORDER.index(tensors[name].dtype), name)):
        one = tensors[name]
        end = begin + one.bytes
        header[name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": [begin, end]}
        begin = end
    length = len(_to_json(header))
    return _LENGTH_BYTES + length + -length % _LENGTH_BYTES


def _index_bytes(split: StateDictSplit, tensors: Mapping[str, TensorInfo]) -> int:
    """Return the bytes of the index, if there are several files."""
    if not split.is_sharded:
        return 0
    return len(_index_text(split, sum(one.parameters for one in tensors.values())).encode())


def _to_json(value: object) -> bytes:
    """Return JSON as safetensors writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
