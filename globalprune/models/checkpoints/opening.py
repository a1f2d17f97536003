"""Opens a checkpoint of any kind; what only some kinds need, such as torch, loads with those."""

from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.sources.source import ModelSource


def open_checkpoint(source: ModelSource) -> Checkpoint:
    """Open a folder of safetensors or a GGUF file; raise `CheckpointError` if it can't be read.

    An adapter is opened with its base model, as merging would leave it.
    """
    if source.is_gguf:
        from globalprune.models.checkpoints.gguf_checkpoint import GgufCheckpoint

        return GgufCheckpoint.open(source)
    base = SafetensorsCheckpoint.open(source)
    if source.adapter is None:
        return base
    from globalprune.models.checkpoints.adapter_checkpoint import AdapterCheckpoint

    return AdapterCheckpoint.open(source, base)
