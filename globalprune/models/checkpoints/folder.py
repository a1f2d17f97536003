"""Opens a model folder once for all commands: weights, config, adapter, and what is tied to what.

Whatever acts on a folder goes through here, loading a model to run it included, so that all see the
same model.
"""

from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.sources.source import ModelSource


def open_folder(source: ModelSource) -> Checkpoint:
    """Open a folder of safetensors; raise `CheckpointError` for what can't be read.

    An adapter is opened with its base model, as merging would leave it.
    """
    base = SafetensorsCheckpoint.open(source)
    if source.adapter is None:
        return base
    from globalprune.models.checkpoints.adapter_checkpoint import AdapterCheckpoint

    return AdapterCheckpoint.open(source, base)
