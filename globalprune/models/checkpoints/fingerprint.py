"""The fingerprint of a model's weights, and the bytes that they take on disk."""

import hashlib
from collections import Counter
from typing import Final

import torch

from globalprune.artifacts.stored_weights import StoredWeights, stored_bytes
from globalprune.artifacts.structure import GroupType, LayerStructure, ModelStructure
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.shard_writer import max_overhead_bytes, weight_file_bytes

QUICK_PREFIX: Final = "sha256:"
FULL_PREFIX: Final = "sha256-full:"  # so that the two forms are never taken for one another
_SAMPLED_BLOCKS: Final = 4
_ROWS_PER_BLOCK: Final = 4
_HASHED_WHOLE: Final = 65_536  # bytes: smaller tensors (norms, biases) are hashed whole
_CHUNK_BYTES: Final = 1 << 26  # hashed at once


def weights_fingerprint(checkpoint: Checkpoint, *, full: bool = False) -> str:
    """Return `sha256:…` of names, dtypes, shapes and sampled rows; `full` hashes every byte."""
    state = hashlib.sha256()
    for name, info in sorted(checkpoint.tensors.items()):
        state.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        tensor = checkpoint.read(name)
        for part in _chunks(tensor) if full else _sampled_blocks(name, tensor):
            state.update(_to_bytes(part))
    return (FULL_PREFIX if full else QUICK_PREFIX) + state.hexdigest()


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


def _sampled_blocks(name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return a small tensor whole, else blocks of rows whose starts follow from its name."""
    if tensor.numel() * tensor.element_size() <= _HASHED_WHOLE:
        return [tensor]
    start_count = max(1, tensor.shape[0] - _ROWS_PER_BLOCK + 1)
    starts = (_hash_to_int(f"{name}/{block}") % start_count for block in range(_SAMPLED_BLOCKS))
    return [tensor[start : start + _ROWS_PER_BLOCK] for start in starts]


def _chunks(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return the whole tensor in pieces of bounded size."""
    flat = tensor.reshape(-1)
    step = _CHUNK_BYTES // tensor.element_size()
    return [flat[start : start + step] for start in range(0, len(flat), step)]


def _hash_to_int(text: str) -> int:
    """Return a number that depends on the text alone, on any machine and any Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _to_bytes(tensor: torch.Tensor) -> bytes:
    """Return the stored bytes of any dtype, including those that numpy lacks."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


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
