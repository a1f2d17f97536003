"""A folder of safetensors as a checkpoint, with the experts of fused tensors taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError, safe_open

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.quantisation import refuse_quantised
from globalprune.models.checkpoints.safetensors_files import SAVE_AGAIN, read_headers
from globalprune.models.checkpoints.weight_checks import (
    EMBEDDING,
    HEAD,
    TIED,
    is_tied,
    refuse_missing_head,
)
from globalprune.models.configs.config import CONFIG_FILE, read_config
from globalprune.models.sources.plain_files import refuse_special
from globalprune.models.sources.source import ModelSource

if TYPE_CHECKING:
    import torch


_BOTH: Final = ".mlp.experts.gate_up_proj"
_DOWN: Final = ".mlp.experts.down_proj"
# what checkpoints call an expert's parts, below the layer, in families that we know
_APART: Final = {
    "qwen3_moe": ("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj"),
    "mixtral": (
        "block_sparse_moe.experts.{}.w1",
        "block_sparse_moe.experts.{}.w3",
        "block_sparse_moe.experts.{}.w2",
    ),
}
_ROUTERS: Final = {"mixtral": (".mlp.gate.weight", ".block_sparse_moe.gate.weight")}
_COUNTS: Final = ("num_experts", "num_local_experts")
_DIMENSIONS: Final = 3


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor lies: a file, a name in it, and of a fused one the expert and its rows."""

    file: Path
    name: str
    expert: int | None = None
    rows: tuple[int, int] = (0, 0)

    def of(self, opened: Any) -> Any:
        """Read it from the opened file."""
        if self.expert is None:
            return opened.get_tensor(self.name)
        return opened.get_slice(self.name)[self.expert, slice(*self.rows)]


def _unfuse_experts(
    config: dict[str, Any], tensors: dict[str, TensorInfo], places: dict[str, TensorLocation]
) -> None:
    """Put, in place of every fused tensor, the parts of its experts; raise where that's unclear."""
    names = _APART.get(str(config.get("model_type")))
    for name in [one for one in tensors if one.endswith((_BOTH, _DOWN))]:
        info, place = tensors.pop(name), places.pop(name)
        if names is None or len(info.shape) != _DIMENSIONS or 0 in info.shape:
            raise CheckpointError(
                f"{place.file}: {name} {list(info.shape)} holds the experts of a layer in one "
                "tensor, which globalprune knows of "
                f"{' and '.join(_APART)} alone; save the model with each expert by itself."
            )
        experts, height, width = info.shape
        said = next((config[key] for key in _COUNTS if config.get(key) is not None), None)
        if said != experts:
            raise CheckpointError(
                f"{place.file}: {name} holds {experts:,} experts, where config.json says {said}; "
                "use the config that belongs to the weights."
            )
        layer = name.removesuffix(_BOTH).removesuffix(_DOWN)
        parts = {names[2]: (0, height)}
        if name.endswith(_BOTH):
            parts = {names[0]: (0, height // 2), names[1]: (height // 2, height)}
        for expert in range(experts):
            for part, rows in parts.items():
                apart = f"{layer}.{part.format(expert)}.weight"
                tensors[apart] = TensorInfo((rows[1] - rows[0], width), info.dtype)
                places[apart] = TensorLocation(place.file, place.name, expert, rows)
        _rename_router(str(config["model_type"]), layer, tensors, places)


def _rename_router(
    model_type: str, layer: str, tensors: dict[str, TensorInfo], places: dict[str, TensorLocation]
) -> None:
    """The router beside fused experts has the name that transformers gives it, too."""
    new, old = _ROUTERS.get(model_type, ("", ""))
    if new and f"{layer}{new}" in tensors:
        tensors[layer + old] = tensors.pop(layer + new)
        places[layer + old] = places.pop(layer + new)


_RECOMPUTED: Final = "rotary_emb.inv_freq"  # a buffer that old checkpoints carry
_READ_BESIDE: Final = frozenset({".json", ".jinja", ".model", ".txt", ".safetensors", ".tiktoken"})


@dataclass(frozen=True)
class SafetensorsCheckpoint:
    """Headers of all shards; tensors are read from the maps one by one."""

    source: ModelSource
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    places: Mapping[str, TensorLocation]  # where each lies
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
            name: (info, TensorLocation(file, name))
            for file, header in headers.items()
            for name, info in header.items()
            if not name.endswith(_RECOMPUTED)
        }
        tensors = {name: info for name, (info, _) in found.items()}
        refuse_quantised(config, folder / CONFIG_FILE, tensors)
        _refuse_more_layers(config, tensors, source.name)
        refuse_missing_head(config, tensors, source.name)
        places = {name: place for name, (_, place) in found.items()}
        config = _tie(config, tensors, places)
        _unfuse_experts(config, tensors, places)
        return cls(source, config, tensors, places, {} if to_load else None)

    @property
    def parameters(self) -> int:
        """The number of parameters, tied tensors counted once."""
        return sum(info.parameters for info in self.tensors.values())

    @property
    def auxiliary_folder(self) -> Path | None:
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
            f"{len(tensors):,} tensors in all; {SAVE_AGAIN}"
        )


def _tie(
    config: dict[str, Any], tensors: dict[str, TensorInfo], places: dict[str, TensorLocation]
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


def _read_tensor(place: TensorLocation, opened: dict[Path, Any] | None = None) -> "torch.Tensor":
    """One tensor of one file, through the maps in `opened` if there are any."""
    held = {} if opened is None else opened
    try:
        if place.file not in held:
            held[place.file] = safe_open(place.file, framework="pt")
        tensor: torch.Tensor = place.of(held[place.file])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{place.file}: {place.name} can't be read ({error}); {SAVE_AGAIN}"
        ) from error
    return tensor
