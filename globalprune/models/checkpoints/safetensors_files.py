"""Which weight file of a folder holds which tensor, as transformers decides it.

Where several files hold a tensor of one name, the index decides; tensors that it doesn't name are
no part of the model. Nothing outside of the folder is read, except through links of a Hub cache.
"""

from pathlib import Path, PurePosixPath
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from globalprune.artifacts.formatting import first_few
from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.sources.plain_files import read_json_object, refuse_special

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
SAVE_AGAIN: Final = "download or save the model again."
_WEIGHTS_KEY: Final = "transformers_weights"  # under it a config.json names another file


def read_headers(folder: Path, config: dict[str, Any]) -> dict[Path, dict[str, TensorInfo]]:
    """Return names, shapes and dtypes of the model's tensors, by the file that holds each.

    Raise `CheckpointError` for files that are missing, broken, or that contradict each other.
    """
    for name in (SINGLE_FILE, INDEX_FILE):
        refuse_special(folder / name)
    if (folder / SINGLE_FILE).is_file():
        _refuse_other_file(folder, config, SINGLE_FILE)
        return {folder / SINGLE_FILE: read_header(folder / SINGLE_FILE)}
    if (folder / INDEX_FILE).is_file():
        _refuse_other_file(folder, config, INDEX_FILE)
        return _read_indexed(folder / INDEX_FILE)
    raise CheckpointError(f"{folder}: {_no_weights(folder)}")


def read_header(shard: Path) -> dict[str, TensorInfo]:
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
            f"{shard}: is no whole safetensors file ({error}); {SAVE_AGAIN}"
        ) from error


def _read_indexed(index: Path) -> dict[Path, dict[str, TensorInfo]]:
    """Return the tensors that an index names; raise `CheckpointError` where one is missing."""
    named = _weight_map(index)
    files = sorted(set(named.values()))
    for file in files:
        refuse_special(index.parent / file)
    if missing := [file for file in files if not (index.parent / file).is_file()]:
        raise CheckpointError(
            f"{index}: shards that aren't there: {first_few(missing)}; {SAVE_AGAIN}"
        )
    headers = {file: read_header(index.parent / file) for file in files}
    if absent := [name for name, file in named.items() if name not in headers[file]]:
        raise CheckpointError(
            f"{index}: tensors that no shard holds: {first_few(absent)}; {SAVE_AGAIN}"
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
            f"{index}: is no index of safetensors (no weight_map of tensors to files); {SAVE_AGAIN}"
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
