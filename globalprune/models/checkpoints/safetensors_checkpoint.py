"""A folder of safetensors, single or sharded, read through memory maps.

Everything that is wrong with the folder is said when it is opened. No weight is read for that, but
for a head stored beside the embedding that it should be tied to; torch loads with the first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError, safe_open

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.fused_experts import Slice, taken_apart
from globalprune.models.checkpoints.quantisation import refuse_quantised
from globalprune.models.checkpoints.shards import AGAIN, read_headers
from globalprune.models.checkpoints.tied_head import (
    EMBEDDING,
    HEAD,
    TIED,
    is_tied,
    refuse_headless,
)
from globalprune.models.configs.raw_config import CONFIG_FILE, read_config
from globalprune.models.sources.plain_files import refuse_special
from globalprune.models.sources.source import ModelSource

if TYPE_CHECKING:
    import torch

_RECOMPUTED: Final = "rotary_emb.inv_freq"  # a buffer that old checkpoints carry
_READ_BESIDE: Final = frozenset({".json", ".jinja", ".model", ".txt", ".safetensors", ".tiktoken"})


@dataclass(frozen=True)
class SafetensorsCheckpoint:
    """Headers of all shards; tensors are read from the maps one by one."""

    source: ModelSource
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    places: Mapping[str, Slice]  # where each lies
    # maps that are kept, for whoever reads each tensor once: what is written into one stays in it
    opened: dict[Path, Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def open(cls, source: ModelSource, *, to_load: bool = False) -> "SafetensorsCheckpoint":
        """Read config and headers; raise `CheckpointError` for all that can't be used.

        `to_load`: every tensor is read once, through one map for each file.
        """
        folder = source.path
        _refuse_pipes(folder)
        config = read_config(folder / CONFIG_FILE)
        headers = read_headers(folder, config)
        found = {
            name: (info, Slice(file, name))
            for file, header in headers.items()
            for name, info in header.items()
            if not name.endswith(_RECOMPUTED)
        }
        tensors = {name: info for name, (info, _) in found.items()}
        refuse_quantised(config, folder / CONFIG_FILE, tensors)
        _refuse_more_layers(config, tensors, source.name)
        refuse_headless(config, tensors, source.name)
        places = {name: place for name, (_, place) in found.items()}
        config = _tie(config, tensors, places)
        taken_apart(config, tensors, places)
        return cls(source, config, tensors, places, {} if to_load else None)

    @property
    def parameters(self) -> int:
        """The number of parameters, tied tensors counted once."""
        return sum(info.parameters for info in self.tensors.values())

    @property
    def companions(self) -> Path | None:
        """The folder itself."""
        return self.source.path

    def read(self, name: str) -> "torch.Tensor":
        """One tensor, mapped from its file: only the pages that are touched are loaded."""
        return _read_tensor(self.places[name], self.opened)


def _refuse_pipes(folder: Path) -> None:
    """Whatever reads the folder later would wait for a pipe to end, or for a device."""
    for path in folder.iterdir():
        if path.suffix.lower() in _READ_BESIDE:
            refuse_special(path)


def _refuse_more_layers(
    config: dict[str, Any], tensors: Mapping[str, TensorInfo], where: str
) -> None:
    """A number of layers that no checkpoint can fill costs whoever builds them memory and time."""
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(tensors):
        raise CheckpointError(
            f"{where}: config.json says num_hidden_layers {layers:,}, and the weights are "
            f"{len(tensors):,} tensors in all; {AGAIN}"
        )


def _tie(
    config: dict[str, Any], tensors: dict[str, TensorInfo], places: dict[str, Slice]
) -> dict[str, Any]:
    """Leave one tensor of a tied pair, under the embedding's name; return what the config means."""
    if not is_tied(config) or HEAD not in tensors:
        return config
    if EMBEDDING not in tensors:
        tensors[EMBEDDING], places[EMBEDDING] = tensors.pop(HEAD), places.pop(HEAD)
    elif _read_tensor(places[EMBEDDING]).equal(_read_tensor(places[HEAD])):
        del tensors[HEAD], places[HEAD]
    else:
        # transformers unties a head whose values differ, whatever the config says; so do we, and
        # what is written says so, since other runtimes go by the config alone
        return config | {TIED: False}
    return config


def _read_tensor(place: Slice, opened: dict[Path, Any] | None = None) -> "torch.Tensor":
    """One tensor of one file, through the maps in `opened` if there are any."""
    held = {} if opened is None else opened
    try:
        if place.file not in held:
            held[place.file] = safe_open(place.file, framework="pt")
        tensor: torch.Tensor = place.of(held[place.file])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{place.file}: {place.name} can't be read ({error}); {AGAIN}"
        ) from error
    return tensor
