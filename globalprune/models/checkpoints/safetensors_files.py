"""Which weight file of a folder holds which tensor: what transformers would open, by the index.

Where several files hold a tensor of one name, the index decides; what it doesn't name is no part of
the model. Nothing outside of the folder is read, but through the links of a Hub cache.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.sources.plain_files import read_json_object, refuse_special

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
SAVE_AGAIN: Final = "download or save the model again."
_NAMED: Final = "transformers_weights"  # under this key a config.json names another file
_SHOWN: Final = 5


def has_weights(folder: Path) -> bool:
    """Whether a folder holds the weights of a whole model."""
    return any((folder / name).is_file() for name in (SINGLE_FILE, INDEX_FILE))


def read_headers(folder: Path, config: dict[str, Any]) -> dict[Path, dict[str, TensorInfo]]:
    """Names, shapes and dtypes of the model's tensors, by the file that each is read from.

    Raise `CheckpointError` for files that are missing, broken, or that contradict each other.
    """
    for name in (SINGLE_FILE, INDEX_FILE):
        refuse_special(folder / name)
    if (folder / SINGLE_FILE).is_file():
        _refuse_other_file(folder, config, SINGLE_FILE)
        return {folder / SINGLE_FILE: read_header(folder / SINGLE_FILE)}
    if (folder / INDEX_FILE).is_file():
        _refuse_other_file(folder, config, INDEX_FILE)
        return _indexed(folder / INDEX_FILE)
    raise CheckpointError(f"{folder}: {_why_none(folder)}")


def read_header(shard: Path) -> dict[str, TensorInfo]:
    """Names, shapes and dtypes of one file; as numpy would read it, since that loads no torch."""
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
            f"{shard}: is no whole safetensors file ({error}); {SAVE_AGAIN}"
        ) from error


def shorten_names(names: Iterable[str]) -> str:
    """The first few of many names."""
    listed = list(names)
    shown = ", ".join(listed[:_SHOWN])
    return shown if len(listed) <= _SHOWN else f"{shown} and {len(listed) - _SHOWN} more"


def _indexed(index: Path) -> dict[Path, dict[str, TensorInfo]]:
    """The tensors that an index names; what it promises must be there."""
    named = _weight_map(index)
    files = sorted(set(named.values()))
    for file in files:
        refuse_special(index.parent / file)
    if missing := [file for file in files if not (index.parent / file).is_file()]:
        raise CheckpointError(
            f"{index}: shards that aren't there: {shorten_names(missing)}; {SAVE_AGAIN}"
        )
    headers = {file: read_header(index.parent / file) for file in files}
    if absent := [name for name, file in named.items() if name not in headers[file]]:
        raise CheckpointError(
            f"{index}: tensors that no shard holds: {shorten_names(absent)}; {SAVE_AGAIN}"
        )
    return {
        index.parent / file: {
            name: info for name, info in header.items() if named.get(name) == file
        }
        for file, header in headers.items()
    }


def _weight_map(index: Path) -> dict[str, str]:
    """Each tensor's file, by a name that stays within the folder."""
    named = read_json_object(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise CheckpointError(
            f"{index}: is no index of safetensors (no weight_map of tensors to files); {SAVE_AGAIN}"
        )
    if outside := sorted({file for file in named.values() if not _is_within(file)}):
        raise CheckpointError(
            f"{index}: names files outside of its folder "
            f"({shorten_names(map(repr, outside))}), which are not read; put the shards "
            "beside the index, and their names into it."
        )
    return named


def _is_within(file: str) -> bool:
    """Whether a file's name is one below the folder, in plain words."""
    parts = PurePosixPath(file).parts
    odd = "\\" in file or "\0" in file or not file or Path(file).is_absolute()
    return not odd and ".." not in parts and bool(parts) and file.endswith(".safetensors")


def _refuse_other_file(folder: Path, config: dict[str, Any], taken: str) -> None:
    """A config can name another file of weights, which transformers would open instead."""
    named = config.get(_NAMED)
    if named is not None and named != taken:
        raise CheckpointError(
            f"{folder / 'config.json'}: {_NAMED} names {named!r}, and only {SINGLE_FILE} and "
            f"{INDEX_FILE} are read; rename the file, and take the key out."
        )


def _why_none(folder: Path) -> str:
    """What the folder holds in place of weights, and what to do."""
    stored = sorted(path.name for path in folder.glob("*.safetensors"))
    convert = "convert them with save_pretrained(safe_serialization=True)."
    if shards := [name for name in stored if name.startswith("model-")]:
        return (
            f"has shards ({shorten_names(shards)}) and no {INDEX_FILE}, which says what they hold; "
            "download it, or save the model again."
        )
    if own := [name for name in stored if name.startswith("consolidated")]:
        return (
            f"has its weights in the layout of Mistral's own programs alone "
            f"({shorten_names(own)}); download those of transformers too."
        )
    if pickles := sorted(path.name for path in folder.glob("*.bin*")):
        return (
            f"only pickle weights ({', '.join(pickles[:3])}), which are not read because a pickle "
            f"can run code; {convert}"
        )
    others = f" (there are {shorten_names(stored)})" if stored else ""
    return (
        f"neither {SINGLE_FILE} nor {INDEX_FILE}{others}; download the safetensors weights. If the "
        f"model has only pickle weights (*.bin), {convert}"
    )
