"""Where a model is: a local folder, a .gguf file, or a model on the Hub.

A folder with a LoRA adapter stands for a model with the adapter merged in: into the folder's own
weights where it holds any, as in transformers, else into the base model that the adapter names.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.artifacts.staging import complete_update
from globalprune.errors import CheckpointError, ModelNotFound
from globalprune.models.sources.hub import (
    ADAPTER_CONFIG,
    CONFIG_FILE,
    HubModel,
    fetch_model,
    parse_hub_model,
)
from globalprune.models.sources.plain_files import read_json_object, refuse_special, special_kind

_WAY_OUT: Final = "name a folder with config.json, a .gguf file, or a Hub id."


@dataclass(frozen=True)
class ModelSource:
    """A local model: `name` as its user wrote it, `path` a folder or a .gguf file."""

    name: str
    path: Path
    revision: str | None = None  # the Hub commit; None for a model that isn't from the Hub
    adapter: Path | None = None  # the folder of an adapter, whose base model is at `path`

    @property
    def is_gguf(self) -> bool:
        """Whether `path` is a GGUF file."""
        return self.path.suffix.lower() == ".gguf"


def resolve_model(text: str) -> ModelSource:
    """Find a model, and download it from the Hub if need be; an existing local path wins.

    Raise `ModelNotFound` for what is neither, and `CheckpointError` for files that can't be read.
    """
    return _resolve(text, is_base=False)


def locate_model(text: str) -> ModelSource | HubModel:
    """Find a model as `resolve_model` does, without fetching anything from the Hub."""
    return _locate(text, is_base=False)


def _resolve(text: str, *, is_base: bool) -> ModelSource:
    model = _locate(text, is_base=is_base)
    if isinstance(model, ModelSource):
        return model
    path = fetch_model(model)
    commit = model.commit_of(path)
    if model.file is not None:
        return ModelSource(text, path, revision=commit)
    return _folder_source(text, path, commit, is_base=is_base)


def _locate(text: str, *, is_base: bool) -> ModelSource | HubModel:
    """`is_base`: the model is what an adapter names, and may be no adapter itself."""
    if "\0" in text or not text.strip():
        raise ModelNotFound(f"{text!r}: is no name of a model; {_WAY_OUT}")
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            complete_update(path)
            return _folder_source(text, path, None, is_base=is_base)
        exists = path.exists()
    except OSError as error:  # a name longer than the system allows
        raise ModelNotFound(f"{text[:80]}…: can't be looked up ({error.strerror}).") from error
    if exists:
        return _file_source(text, path)
    model = parse_hub_model(text)
    if model is None:
        raise ModelNotFound(f"{text}: no such file or folder; {_WAY_OUT}")
    return model


def _folder_source(text: str, path: Path, revision: str | None, *, is_base: bool) -> ModelSource:
    """Return the source of a folder that holds a model, or an adapter, or both."""
    adapter, config = path / ADAPTER_CONFIG, path / CONFIG_FILE
    for file in (adapter, config):
        refuse_special(file)
    if adapter.is_file():
        if is_base:  # one of the two would be silently lost, or they could name each other
            raise ModelNotFound(
                f"{text}: is an adapter itself ({ADAPTER_CONFIG}); merge that one with peft, and "
                "name the merged folder as the base."
            )
        if config.is_file() and any(path.glob("model*.safetensors*")):
            return ModelSource(text, path, revision, adapter=path)
        return _adapter_source(text, path)
    if config.is_file():
        return ModelSource(text, path, revision)
    gguf_files = sorted(file.name for file in path.glob("*.gguf"))
    if gguf_files:
        raise ModelNotFound(
            f"{text}: has no config.json, but {', '.join(gguf_files)}; "
            f"name the file itself: {path / gguf_files[0]}"
        )
    raise ModelNotFound(f"{text}: the folder has no config.json; {_WAY_OUT}")


def _adapter_source(text: str, path: Path) -> ModelSource:
    """Return the source of an adapter's folder, with the base model that the adapter names."""
    config = read_json_object(path / ADAPTER_CONFIG)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base.strip() or not isinstance(revision, str | None):
        raise ModelNotFound(
            f"{text}: its {ADAPTER_CONFIG} names no base model (base_model_name_or_path is "
            f"{base!r}, revision {revision!r}); mend it, or save the adapter again."
        )
    try:
        source = _resolve(base + (f"@{revision}" if revision else ""), is_base=True)
    except (ModelNotFound, CheckpointError) as error:
        raise ModelNotFound(
            f"{text}: is a LoRA adapter, whose base model is not where {ADAPTER_CONFIG} says: "
            f"{error}"
        ) from error
    if source.is_gguf:
        raise ModelNotFound(
            f"{text}: is an adapter on {base}, whose weights are quantised; name a folder of the "
            f"model in its {ADAPTER_CONFIG}."
        )
    return ModelSource(text, source.path, source.revision, adapter=path)


def _file_source(text: str, path: Path) -> ModelSource:
    """Return the source of a .gguf file; raise `ModelNotFound` for any other."""
    source = ModelSource(text, path)
    if kind := special_kind(path):
        raise ModelNotFound(f"{text}: is {kind}; {_WAY_OUT}")
    if not source.is_gguf:
        raise ModelNotFound(f"{text}: is a file, but no .gguf; {_WAY_OUT}")
    return source
