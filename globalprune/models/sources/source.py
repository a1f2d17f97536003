"""Where a model is: a local folder, a .gguf file, or a place on the Hub.

A folder that holds a LoRA adapter alone stands for its base model with the adapter merged in.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.staging import complete_update
from globalprune.errors import ModelNotFound
from globalprune.models.sources.hub import HubPlace, fetch, hub_place

ADAPTER_CONFIG = "adapter_config.json"
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
    place = find_place(text)
    if isinstance(place, ModelSource):
        return place
    path = fetch(place)
    return ModelSource(text, path, revision=place.commit_of(path))


def find_place(text: str) -> ModelSource | HubPlace:
    """Find a model without fetching anything: the local one, or where on the Hub it would be."""
    path = Path(text).expanduser()
    if path.is_dir():
        return _local_folder(text, path)
    if path.exists():
        return _local_file(text, path)
    place = hub_place(text)
    if place is None:
        raise ModelNotFound(f"{text}: no such file or folder; {_WAY_OUT}")
    return place


def _local_folder(text: str, path: Path) -> ModelSource:
    """Take a folder that holds a config.json."""
    complete_update(path)
    if (path / "config.json").is_file():
        return ModelSource(text, path)
    if (path / ADAPTER_CONFIG).is_file():
        return _adapted(text, path)
    gguf_files = sorted(found.name for found in path.glob("*.gguf"))
    if gguf_files:
        raise ModelNotFound(
            f"{text}: has no config.json, but {', '.join(gguf_files)}; "
            f"name the file itself: {path / gguf_files[0]}"
        )
    raise ModelNotFound(f"{text}: the folder has no config.json; {_WAY_OUT}")


def _adapted(text: str, path: Path) -> ModelSource:
    """Find the base model that an adapter names."""
    try:
        config = json.loads((path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        revision = config.get("revision")
        base = config["base_model_name_or_path"] + (f"@{revision}" if revision else "")
        found = resolve_model(base)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotFound(
            f"{text}: its {ADAPTER_CONFIG} names no base model ({error!r}); mend or save it anew."
        ) from error
    except ModelNotFound as error:
        raise ModelNotFound(
            f"{text}: is a LoRA adapter, whose base model is not where {ADAPTER_CONFIG} says: "
            f"{error}"
        ) from error
    if found.adapter is not None:  # or its part would be lost without a word
        raise ModelNotFound(
            f"{text}: is an adapter on {base}, which is an adapter itself; merge that one with "
            "peft, and name the merged folder as its base."
        )
    if found.is_gguf:
        raise ModelNotFound(
            f"{text}: is an adapter on {base}, whose weights are quantised; name a folder of the "
            f"model in its {ADAPTER_CONFIG}."
        )
    return ModelSource(text, found.path, found.revision, adapter=path)


def _local_file(text: str, path: Path) -> ModelSource:
    """Take a .gguf file."""
    source = ModelSource(text, path)
    if not source.is_gguf:
        raise ModelNotFound(f"{text}: is a file, but no .gguf; {_WAY_OUT}")
    return source
