"""What of a model can be refused at once: by its config.json and the headers of its weights.

Nothing here loads torch, reads a weight, or fetches one from the Hub. Each command opens the model
anew when its work begins, and refuses what only the weights tell.
"""

from typing import Any

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.checkpoints.gguf_families import GGUF_FAMILIES, refuse_lossy_gguf
from globalprune.models.checkpoints.gguf_header import read_gguf_header
from globalprune.models.checkpoints.quantisation import refuse_quantised
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.configs.config import read_config
from globalprune.models.registry import adapter_for
from globalprune.models.sources.hub import HubModel, fetch_config
from globalprune.models.sources.source import ModelSource, locate_model


def refuse_unprunable(model: str) -> None:
    """Raise for a model that is of no family of ours, is quantised, or has no shape to be cut."""
    place = locate_model(model)
    if isinstance(place, HubModel):
        if place.file is None:
            adapter_for(_hub_config(place))
    elif place.is_gguf:
        _refuse_uncuttable_file(place)
    else:
        # an adapter's base, whose shapes merging keeps
        checkpoint = SafetensorsCheckpoint.open(place)
        adapter_for(checkpoint.config).check_shapes(checkpoint)


def refuse_unreadable(model: str) -> None:
    """Raise for a model that is quantised or whose weights are not whole; any family will do."""
    place = locate_model(model)
    if isinstance(place, HubModel):
        if place.file is None:
            _hub_config(place)
    elif place.is_gguf:
        refuse_lossy_gguf(read_gguf_header(place.path), place.name)
    else:
        SafetensorsCheckpoint.open(place)


def _hub_config(place: HubModel) -> dict[str, Any]:
    """The config of a model on the Hub; raise for a quantised one."""
    path = fetch_config(place)
    config = read_config(path)
    refuse_quantised(config, path)
    return config


def _refuse_uncuttable_file(source: ModelSource) -> None:
    """Read a GGUF file's head."""
    header = read_gguf_header(source.path)
    refuse_lossy_gguf(header, source.name)
    if header.architecture not in GGUF_FAMILIES:
        raise UnsupportedArchitecture(
            f"{source.name}: is a GGUF file of architecture {header.architecture!r}, which "
            f"globalprune can't cut; supported: {', '.join(GGUF_FAMILIES)}."
        )
