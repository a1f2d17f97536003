"""Where a model is: a local folder, a .gguf file, or a place on the Hub.

A folder with a LoRA adapter stands for a model with the adapter merged in: for the folder's own
weights where it holds any, as transformers has it, else for the base model that the adapter names.
"""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.staging import complete_update
from globalprune.errors import CheckpointError, ModelNotFound
from globalprune.models.sources.hub import ADAPTER_CONFIG, HubModel, fetch_model, parse_hub_model
from globalprune.models.sources.plain_files import read_json_object, refuse_special, special_kind

_WAY_OUT = "name a folder with config.json, a .gguf file, or a Hub id."


@dataclass(frozen=True)
class ModelSource:
    """A model that was found: `name` as its user wrote it, `path` a folder or a .gguf file."""

    name: str
    path: Path
    revision: str | None = None  # the Hub commit; None for what was already local
    adapter: Path | None = None  # the folder of an adapter, whose base model `path` is

    @property
    def is_gguf(self) -> bool:
        """Whether `path` is a GGUF file."""
        return self.path.suffix.lower() == ".gguf"


def resolve_model(text: str) -> ModelSource:
    """Find a model, downloading it from the Hub if need be; an existing local path wins."""
    return _resolved(text, is_base=False)


def locate_model(text: str) -> ModelSource | HubModel:
    """Find a model without fetching anything: the local one, or where on the Hub it would be."""
    return _place(text, is_base=False)


def _resolved(text: str, *, is_base: bool) -> ModelSource:
    place = _place(text, is_base=is_base)
    if isinstance(place, ModelSource):
        return place
    path = fetch_model(place)
    commit = place.commit_of(path)
    if place.file is not None:
        return ModelSource(text, path, revision=commit)
    return _folder(text, path, commit, is_base=is_base)


def _place(text: str, *, is_base: bool) -> ModelSource | HubModel:
    """`is_base`: the model is what an adapter names, and may be no adapter itself."""
    if "\0" in text or not text.strip():
        raise ModelNotFound(f"{text!r}: is no name of a model; {_WAY_OUT}")
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            complete_update(path)
            return _folder(text, path, None, is_base=is_base)
        exists = path.exists()
    except OSError as error:  # a name longer than any file's
        raise ModelNotFound(f"{text[:80]}…: can't be looked for ({error.strerror}).") from error
    if exists:
        return _local_file(text, path)
    place = parse_hub_model(text)
    if place is None:
        raise ModelNotFound(f"{text}: no such file or folder; {_WAY_OUT}")
    return place


def _folder(text: str, path: Path, revision: str | None, *, is_base: bool) -> ModelSource:
    """Take a folder that holds a model, or an adapter, or both."""
    adapter, config = path / ADAPTER_CONFIG, path / "config.json"
    for file in (adapter, config):
        refuse_special(file)
    if adapter.is_file():
        if is_base:  # or one of the two would be lost without a word, or lead in circles
            raise ModelNotFound(
                f"{text}: is an adapter itself ({ADAPTER_CONFIG}); merge that one with peft, and "
                "name the merged folder as the base."
            )
        if config.is_file() and any(path.glob("model*.safetensors*")):
            return ModelSource(text, path, revision, adapter=path)
        return _adapted(text, path)
    if config.is_file():
        return ModelSource(text, path, revision)
    gguf_files = sorted(found.name for found in path.glob("*.gguf"))
    if gguf_files:
        raise ModelNotFound(
            f"{text}: has no config.json, but {', '.join(gguf_files)}; "
            f"name the file itself: {path / gguf_files[0]}"
        )
    raise ModelNotFound(f"{text}: the folder has no config.json; {_WAY_OUT}")


def _adapted(text: str, path: Path) -> ModelSource:
    """Find the base model that an adapter names."""
    config = read_json_object(path / ADAPTER_CONFIG)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base.strip() or not isinstance(revision, str | None):
        raise ModelNotFound(
            f"{text}: its {ADAPTER_CONFIG} names no base model (base_model_name_or_path is "
            f"{base!r}, revision {revision!r}); mend or save it anew."
        )
    try:
        found = _resolved(base + (f"@{revision}" if revision else ""), is_base=True)
    except (ModelNotFound, CheckpointError) as error:
        raise ModelNotFound(
            f"{text}: is a LoRA adapter, whose base model is not where {ADAPTER_CONFIG} says: "
            f"{error}"
        ) from error
    if found.is_gguf:
        raise ModelNotFound(
            f"{text}: is an adapter on {base}, whose weights are quantised; name a folder of the "
            f"model in its {ADAPTER_CONFIG}."
        )
    return ModelSource(text, found.path, found.revision, adapter=path)


def _local_file(text: str, path: Path) -> ModelSource:
    """Take a .gguf file."""
    source = ModelSource(text, path)
    if kind := special_kind(path):
        raise ModelNotFound(f"{text}: is {kind}; {_WAY_OUT}")
    if not source.is_gguf:
        raise ModelNotFound(f"{text}: is a file, but no .gguf; {_WAY_OUT}")
    return source
