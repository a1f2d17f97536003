"""Opens a checkpoint of any kind."""

from globalprune.models.adapter_checkpoint import AdapterCheckpoint
from globalprune.models.checkpoint import Checkpoint
from globalprune.models.gguf_checkpoint import GgufCheckpoint
from globalprune.models.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.source import ModelSource


def open_checkpoint(source: ModelSource) -> Checkpoint:
    """Open a folder of safetensors or a GGUF file; raise `CheckpointError` if it can't be read.

    An adapter is opened with its base model, as merging would leave it.
    """
    kind = GgufCheckpoint if source.is_gguf else SafetensorsCheckpoint
    base = kind.open(source)
    return base if source.adapter is None else AdapterCheckpoint.open(source, base)
