"""Refuses a model before any work, by its config.json and the headers of its weights.

Nothing here reads a weight, or fetches one from the Hub, and torch loads only where a type of model
has to be proved. What only the weights show is refused when a command's work begins.
"""

from typing import Any

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.checkpoints.gguf_checkpoint import GGUF_FAMILIES, refuse_lossy_gguf
from globalprune.models.checkpoints.gguf_header import read_gguf_header
from globalprune.models.checkpoints.weight_checks import refuse_quantised
from globalprune.models.configs.config import read_config
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.registry import adapter_for
from globalprune.models.sources.hub import HubModel, fetch_config
from globalprune.models.sources.source import ModelSource
from globalprune.progress import Progress, silent


def refuse_unprunable(model: PreparedModel, progress: Progress = silent) -> None:
    """Raise `ModelError` for a model that can't be cut, a quantised one, or wrong shapes.

    A type that no table knows is proved, which loads torch and takes seconds.
    """
    located = model.place
    if isinstance(located, HubModel):
        if located.file is None:
            adapter_for(_hub_config(located), progress)
    elif located.is_gguf:
        _refuse_unprunable_file(located)
    else:
        # of an adapter this is the base, which has the same shapes
        adapter_for(model.folder.config, progress).check_shapes(model.folder)


def refuse_unreadable(model: PreparedModel) -> None:
    """Raise `ModelError` for a quantised model or incomplete weights; any family is accepted."""
    located = model.place
    if isinstance(located, HubModel):
        if located.file is None:
            _hub_config(located)
    elif located.is_gguf:
        refuse_lossy_gguf(read_gguf_header(located.path), located.name)
    else:
        _ = model.folder


def _hub_config(model: HubModel) -> dict[str, Any]:
    """Read the config of a model on the Hub; raise `CheckpointError` for a quantised one."""
    path = fetch_config(model)
    config = read_config(path)
    refuse_quantised(config, path)
    return config


def _refuse_unprunable_file(source: ModelSource) -> None:
    """Raise `ModelError` for a GGUF file of an unknown family, or one that would lose tensors."""
    header = read_gguf_header(source.path)
    refuse_lossy_gguf(header, source.name)
    if header.architecture not in GGUF_FAMILIES:
        raise UnsupportedArchitecture(
            f"{source.name}: is a GGUF file of architecture {header.architecture!r}, which "
            f"globalprune can't cut; supported: {', '.join(GGUF_FAMILIES)}."
        )
