"""A folder of safetensors as a checkpoint, in which every expert has tensors of its own.

Which file holds which tensor is decided as transformers does it: where several files hold a tensor
of one name, the index decides, and tensors that it doesn't name are no part of the model. Nothing
outside of the folder is read, except through links of a Hub cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError, safe_open

from globalprune.artifacts.formatting import first_few
from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.weight_checks import (
    EMBEDDING,
    HEAD,
    TIED,
    is_tied,
    refuse_missing_head,
    refuse_quantised,
)
from globalprune.models.configs.config import read_config
from globalprune.models.sources.hub import CONFIG_FILE
from globalprune.models.sources.plain_files import read_json_object, refuse_special
from globalprune.models.sources.source import ModelSource

if TYPE_CHECKING:
    import torch

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
_SAVE_AGAIN: Final = "download or save the model again."
_WEIGHTS_KEY: Final = "transformers_weights"  # under it a config.json names another file
_RECOMPUTED: Final = "rotary_emb.inv_freq"  # a buffer that old checkpoints carry
_READ_SUFFIXES: Final = frozenset(
    {".json", ".jinja", ".model", ".txt", ".safetensors", ".tiktoken"}
)
_FUSED_GATE_UP: Final = ".mlp.experts.gate_up_proj"
_FUSED_DOWN: Final = ".mlp.experts.down_proj"
_FUSED_DIMENSIONS: Final = 3  # experts, rows, columns
# By family: the names of an expert's gate, up and down below the layer, where they aren't fused.
_EXPERT_NAMES: Final = {
    "qwen3_moe": ("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj"),
    "mixtral": (
        "block_sparse_moe.experts.{}.w1",
        "block_sparse_moe.experts.{}.w3",
        "block_sparse_moe.experts.{}.w2",
    ),
}
# By family: the router's name beside fused experts, and beside single ones, where they differ.
_ROUTER_NAMES: Final = {"mixtral": (".mlp.gate.weight", ".block_sparse_moe.gate.weight")}
_EXPERT_COUNT_KEYS: Final = ("num_experts", "num_local_experts")


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor is stored: a file, a name in it, and in a fused tensor the expert's rows."""

    file: Path
    name: str
    expert: int | None = None
    rows: tuple[int, int] = (0, 0)

    def read_from(self, opened: Any) -> Any:
        """Read the tensor from the opened file."""
        if self.expert is None:
            return opened.get_tensor(self.name)
        return opened.get_slice(self.name)[self.expert, slice(*self.rows)]


@dataclass(frozen=True)
class SafetensorsCheckpoint:
    """The headers of all shards; tensors are read one by one."""

    source: ModelSource
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    locations: Mapping[str, TensorLocation]
    # Maps that stay open for a caller that reads each tensor once: what is written into such a
    # tensor stays in the map.
    opened: dict[Path, Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def open(cls, source: ModelSource) -> "SafetensorsCheckpoint":
        """Read config and headers; raise `CheckpointError` for all that can't be used."""
        folder = source.path
        _refuse_pipes(folder)
        config = read_config(folder / CONFIG_FILE)
        headers = read_headers(folder, config)
        stored = {
            name: (info, TensorLocation(file, name))
            for file, header in headers.items()
            for name, info in header.items()
            if not name.endswith(_RECOMPUTED)
        }
        tensors = {name: info for name, (info, _) in stored.items()}
        refuse_quantised(config, folder / CONFIG_FILE, tensors)
        _refuse_too_many_layers(config, tensors, source.name)
        refuse_missing_head(config, tensors, source.name)
        locations = {name: location for name, (_, location) in stored.items()}
        config = _tie(config, tensors, locations)
        _unfuse_experts(config, tensors, locations)
        return cls(source, config, tensors, locations)

    @property
    def parameters(self) -> int:
        """The number of parameters; tied tensors count once."""
        return sum(info.parameters for info in self.tensors.values())

    @property
    def auxiliary_folder(self) -> Path | None:
        """The folder itself."""
        return self.source.path

    def read(self, name: str) -> "torch.Tensor":
        """Read one tensor, mapped from its file: only the pages that are used are loaded."""
        return _read_tensor(self.locations[name], self.opened)

    def mapped(self) -> "SafetensorsCheckpoint":
        """Return the same with maps that stay open, to read each tensor once."""
        return replace(self, opened={})


def read_headers(folder: Path, config: dict[str, Any]) -> dict[Path, dict[str, TensorInfo]]:
    """Return names, shapes and dtypes of the model's tensors, by the file that holds each.

    Raise `CheckpointError` for files that are missing, broken, or that contradict each other.
    """
    for name in (SINGLE_FILE, INDEX_FILE):
        refuse_special(folder / name)
    if (folder / SINGLE_FILE).is_file():
        _refuse_other_file(folder, config, SINGLE_FILE)
        return {folder / SINGLE_FILE: _read_header(folder / SINGLE_FILE)}
    if (folder / INDEX_FILE).is_file():
        _refuse_other_file(folder, config, INDEX_FILE)
        return _read_indexed(folder / INDEX_FILE)
    raise CheckpointError(f"{folder}: {_no_weights(folder)}")


def _read_header(shard: Path) -> dict[str, TensorInfo]:
    """Return names, shapes and dtypes of one file; opened for numpy, which loads no torch."""
    refuse_special(shard)
    try:
        with safe_open(shard, framework="np") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: TensorInfo(tuple(view.get_shape()), view.get_dtype())
                for name, view in views.items()
            }
    except (SafetensorError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise CheckpointError(
            f"{shard}: is no whole safetensors file ({error}); {_SAVE_AGAIN}"
        ) from error


def _read_indexed(index: Path) -> dict[Path, dict[str, TensorInfo]]:
    """Return the tensors that an index names; raise `CheckpointError` where one is missing."""
    named = _weight_map(index)
    files = sorted(set(named.values()))
    for file in files:
        refuse_special(index.parent / file)
    if missing := [file for file in files if not (index.parent / file).is_file()]:
        raise CheckpointError(
            f"{index}: shards that aren't there: {first_few(missing)}; {_SAVE_AGAIN}"
        )
    headers = {file: _read_header(index.parent / file) for file in files}
    if absent := [name for name, file in named.items() if name not in headers[file]]:
        raise CheckpointError(
            f"{index}: tensors that no shard holds: {first_few(absent)}; {_SAVE_AGAIN}"
        )
    return {
        index.parent / file: {
            name: info for name, info in header.items() if named.get(name) == file
        }
        for file, header in headers.items()
    }


def _weight_map(index: Path) -> dict[str, str]:
    """Return the file of each tensor; raise `CheckpointError` for files outside of the folder."""
    named = read_json_object(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise CheckpointError(
            f"{index}: is no index of safetensors (no weight_map of tensors to files); "
            f"{_SAVE_AGAIN}"
        )
    if outside := sorted({file for file in named.values() if not _is_within(file)}):
        raise CheckpointError(
            f"{index}: names files outside of its folder "
            f"({first_few(map(repr, outside))}), which are not read; put the shards "
            "beside the index, and their names into it."
        )
    return named


def _is_within(file: str) -> bool:
    """Whether a file's name is a plain relative path below the folder."""
    parts = PurePosixPath(file).parts
    odd = "\\" in file or "\0" in file or not file or Path(file).is_absolute()
    return not odd and ".." not in parts and bool(parts) and file.endswith(".safetensors")


def _refuse_other_file(folder: Path, config: dict[str, Any], taken: str) -> None:
    """Raise `CheckpointError` if the config names another file, which transformers would open."""
    named = config.get(_WEIGHTS_KEY)
    if named is not None and named != taken:
        raise CheckpointError(
            f"{folder / 'config.json'}: {_WEIGHTS_KEY} names {named!r}, and only {SINGLE_FILE} and "
            f"{INDEX_FILE} are read; rename the file, and take the key out."
        )


def _no_weights(folder: Path) -> str:
    """Say what the folder holds in place of weights, and what to do."""
    stored = sorted(path.name for path in folder.glob("*.safetensors"))
    convert = "convert them with save_pretrained(safe_serialization=True)."
    if shards := [name for name in stored if name.startswith("model-")]:
        return (
            f"has shards ({first_few(shards)}) and no {INDEX_FILE}, which says what they hold; "
            "download it, or save the model again."
        )
    if own := [name for name in stored if name.startswith("consolidated")]:
        return (
            f"has its weights in the layout of Mistral's own programs alone "
            f"({first_few(own)}); download those of transformers too."
        )
    if pickles := sorted(path.name for path in folder.glob("*.bin*")):
        return (
            f"only pickle weights ({', '.join(pickles[:3])}), which are not read because a pickle "
            f"can run code; {convert}"
        )
    others = f" (there are {first_few(stored)})" if stored else ""
    return (
        f"neither {SINGLE_FILE} nor {INDEX_FILE}{others}; download the safetensors weights. If the "
        f"model has only pickle weights (*.bin), {convert}"
    )


def _refuse_pipes(folder: Path) -> None:
    """Raise `CheckpointError` for a pipe or device, for which a later reader would wait forever."""
    for path in folder.iterdir():
        if path.suffix.lower() in _READ_SUFFIXES:
            refuse_special(path)


def _refuse_too_many_layers(
    config: dict[str, Any], tensors: Mapping[str, TensorInfo], where: str
) -> None:
    """Raise `CheckpointError` for more layers than tensors, before anything is built of them."""
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(tensors):
        raise CheckpointError(
            f"{where}: config.json says num_hidden_layers {layers:,}, and the weights are "
            f"{len(tensors):,} tensors in all; {_SAVE_AGAIN}"
        )


def _tie(
    config: dict[str, Any],
    tensors: dict[str, TensorInfo],
    locations: dict[str, TensorLocation],
) -> dict[str, Any]:
    """Keep one tensor of a tied pair, under the embedding's name; return the config to use."""
    if not is_tied(config) or HEAD not in tensors:
        return config
    if EMBEDDING not in tensors:
        tensors[EMBEDDING], locations[EMBEDDING] = tensors.pop(HEAD), locations.pop(HEAD)
    elif _read_tensor(locations[EMBEDDING]).equal(_read_tensor(locations[HEAD])):
        del tensors[HEAD], locations[HEAD]
    else:
        # Whatever the config says, transformers unties a head whose values differ. The config that
        # is written says so, since other runtimes read nothing else.
        return config | {TIED: False}
    return config


def _unfuse_experts(
    config: dict[str, Any],
    tensors: dict[str, TensorInfo],
    locations: dict[str, TensorLocation],
) -> None:
    """Replace every fused tensor by those of its experts; raise `CheckpointError` if unknown."""
    names = _EXPERT_NAMES.get(str(config.get("model_type")))
    for name in [one for one in tensors if one.endswith((_FUSED_GATE_UP, _FUSED_DOWN))]:
        info, location = tensors.pop(name), locations.pop(name)
        if names is None or len(info.shape) != _FUSED_DIMENSIONS or 0 in info.shape:
            raise CheckpointError(
                f"{location.file}: {name} {list(info.shape)} holds the experts of a layer in one "
                f"tensor, which globalprune can read for {' and '.join(_EXPERT_NAMES)} only; save "
                "the model with each expert by itself."
            )
        experts, height, width = info.shape
        stated = next(
            (config[key] for key in _EXPERT_COUNT_KEYS if config.get(key) is not None), None
        )
        if stated != experts:
            raise CheckpointError(
                f"{location.file}: {name} holds {experts:,} experts, where config.json says "
                f"{stated}; use the config that belongs to the weights."
            )
        layer = name.removesuffix(_FUSED_GATE_UP).removesuffix(_FUSED_DOWN)
        parts = {names[2]: (0, height)}
        if name.endswith(_FUSED_GATE_UP):
            parts = {names[0]: (0, height // 2), names[1]: (height // 2, height)}
        for expert in range(experts):
            for part, rows in parts.items():
                single = f"{layer}.{part.format(expert)}.weight"
                tensors[single] = TensorInfo((rows[1] - rows[0], width), info.dtype)
                locations[single] = TensorLocation(location.file, location.name, expert, rows)
        _rename_router(str(config["model_type"]), layer, tensors, locations)


def _rename_router(
    model_type: str,
    layer: str,
    tensors: dict[str, TensorInfo],
    locations: dict[str, TensorLocation],
) -> None:
    """Give the router beside fused experts the name that it has beside single ones."""
    fused, single = _ROUTER_NAMES.get(model_type, ("", ""))
    if fused and f"{layer}{fused}" in tensors:
        tensors[layer + single] = tensors.pop(layer + fused)
        locations[layer + single] = locations.pop(layer + fused)


def _read_tensor(location: TensorLocation, opened: dict[Path, Any] | None = None) -> "torch.Tensor":
    """Read one tensor, through the maps in `opened` if there are any."""
    files = {} if opened is None else opened
    try:
        if location.file not in files:
            files[location.file] = safe_open(location.file, framework="pt")
        tensor: torch.Tensor = location.read_from(files[location.file])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{location.file}: {location.name} can't be read ({error}); {_SAVE_AGAIN}"
        ) from error
    return tensor
