"""Opens a model folder once for all commands: weights, config, adapter, and what is tied to what.

Whatever acts on a folder goes through here, loading a model to run it included, so that all see the
same model.
"""

from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.sources.source import ModelSource


def open_folder(source: ModelSource, *, to_load: bool = False) -> Checkpoint:
    """Open a folder of safetensors; raise `CheckpointError` for what can't be read.

    An adapter is opened with its base model, as merging would leave it. `to_load`: every tensor is
    read once.
    """
    base = SafetensorsCheckpoint.open(source, to_load=to_load)
    if source.adapter is None:
        return base
    from globalprune.models.checkpoints.adapter_checkpoint import AdapterCheckpoint

    return AdapterCheckpoint.open(source, base)
