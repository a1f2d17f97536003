"""What a checkpoint's weights take on disk, for budgets in bytes; no weight is read."""

from collections import Counter

from globalprune.artifacts.stored_weights import StoredWeights, stored_bytes
from globalprune.artifacts.structure import GroupType, LayerStructure, ModelStructure
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.file_bytes import overhead_at_most, weight_file_bytes
from globalprune.models.interface import ModelAdapter


def stored_weights(
    checkpoint: Checkpoint, adapter: ModelAdapter, structure: ModelStructure
) -> StoredWeights:
    """Count the files that the weights take, and what of them goes with a group of each half."""
    numbers: Counter[str] = Counter()
    for info in checkpoint.tensors.values():
        numbers[info.dtype] += info.parameters
    return StoredWeights(
        file_bytes=weight_file_bytes(checkpoint.tensors),
        overhead=overhead_at_most(checkpoint.tensors),
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
    if not layer.half(group_type).cost:
        return 0
    prefix = adapter.layer_prefix(index)
    by_part: Counter[int] = Counter()  # experts lie one behind the other
    for axis in adapter.axes(layer, group_type):
        info = checkpoint.tensors[prefix + axis.tensor]
        by_part[axis.first] += stored_bytes(info.parameters, info.dtype) // axis.groups(info.shape)
    return min(by_part.values())
