"""Opens a checkpoint of any kind."""

from globalprune.models.checkpoint import Checkpoint
from globalprune.models.gguf_checkpoint import GgufCheckpoint
from globalprune.models.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.source import ModelSource


def open_checkpoint(source: ModelSource) -> Checkpoint:
    """Open a folder of safetensors or a GGUF file; raise `CheckpointError` if it can't be read."""
    kind = GgufCheckpoint if source.is_gguf else SafetensorsCheckpoint
    return kind.open(source)
