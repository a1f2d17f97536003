"""Opens a checkpoint of any kind; what only some kinds need, such as torch, loads with those."""

from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.folder import open_folder
from globalprune.models.sources.source import ModelSource


def open_checkpoint(source: ModelSource) -> Checkpoint:
    """Open a folder of safetensors or a GGUF file; raise `CheckpointError` if it can't be read."""
    if source.is_gguf:
        from globalprune.models.checkpoints.gguf_checkpoint import GgufCheckpoint

        return GgufCheckpoint.open(source)
    return open_folder(source)
