"""Opens a model as a checkpoint: a folder of safetensors, a LoRA adapter, or a GGUF file."""

from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.sources.source import ModelSource


def open_checkpoint(source: ModelSource) -> Checkpoint:
    """Open a folder of safetensors or a GGUF file; raise `CheckpointError` if it can't be read."""
    if source.is_gguf:
        from globalprune.models.checkpoints.gguf_checkpoint import GgufCheckpoint

        return GgufCheckpoint.open(source)
    return open_folder(source)


def open_folder(source: ModelSource, base: SafetensorsCheckpoint | None = None) -> Checkpoint:
    """Open a folder of safetensors; raise `CheckpointError` if it can't be read.

    An adapter is opened with its base model, as merging would leave it. `base` is that model, or
    the folder without an adapter, if it is open already.
    """
    base = SafetensorsCheckpoint.open(source) if base is None else base
    if source.adapter is None:
        return base
    from globalprune.models.checkpoints.lora_checkpoint import LoraCheckpoint

    return LoraCheckpoint.open(source, base)
