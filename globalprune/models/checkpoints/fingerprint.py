"""The fingerprint of a model's weights, and what those weights take on disk."""

import hashlib
from collections import Counter

import torch

from globalprune.artifacts.stored_weights import StoredWeights, stored_bytes
from globalprune.artifacts.structure import GroupType, LayerStructure, ModelStructure
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.shard_writer import max_overhead_bytes, weight_file_bytes

QUICK_PREFIX = "sha256:"
FULL_PREFIX = "sha256-full:"  # so that the two forms are never taken for one another
_BLOCKS = 4
_ROWS = 4  # per block
_READ_WHOLE = 65_536  # bytes: smaller tensors (norms, biases) are hashed whole
_FULL_CHUNK = 1 << 26  # bytes hashed at once


def weights_fingerprint(checkpoint: Checkpoint, *, full: bool = False) -> str:
    """`sha256:…` of names, dtypes, shapes and sampled rows; `sha256-full:…` of every byte."""
    state = hashlib.sha256()
    for name, info in sorted(checkpoint.tensors.items()):
        state.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        content = checkpoint.read(name)
        for part in _chunks(content) if full else _sampled(name, content):
            state.update(_as_bytes(part))
    return (FULL_PREFIX if full else QUICK_PREFIX) + state.hexdigest()


def _sampled(name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
    """A small tensor whole, else blocks of rows at places that follow from its name."""
    if tensor.numel() * tensor.element_size() <= _READ_WHOLE:
        return [tensor]
    places = max(1, tensor.shape[0] - _ROWS + 1)
    starts = (_seed(f"{name}/{block}") % places for block in range(_BLOCKS))
    return [tensor[start : start + _ROWS] for start in starts]


def _chunks(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The whole tensor in pieces of bounded size."""
    flat = tensor.reshape(-1)
    step = _FULL_CHUNK // tensor.element_size()
    return [flat[start : start + step] for start in range(0, len(flat), step)]


def _seed(text: str) -> int:
    """A number that depends on the text alone, on any machine and any Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _as_bytes(tensor: torch.Tensor) -> bytes:
    """The stored bytes; every dtype has them, numpy's or not."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


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


def _group_bytes(
    checkpoint: Checkpoint,
    adapter: ModelAdapter,
    index: int,
    layer: LayerStructure,
    group_type: GroupType,
) -> int:
    """The bytes of one group; of experts that are stored in several dtypes, the fewest."""
    if not layer.sublayer(group_type).cost:
        return 0
    prefix = adapter.layer_prefix(index)
    by_part: Counter[int] = Counter()  # experts lie one behind the other
    for axis in adapter.axes(layer, group_type):
        info = checkpoint.tensors[prefix + axis.tensor]
        by_part[axis.first] += stored_bytes(info.parameters, info.dtype) // axis.groups(info.shape)
    return min(by_part.values())
