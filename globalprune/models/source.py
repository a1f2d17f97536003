"""Where a model is: a local folder, a .gguf file, or a Hub id with an optional revision.

A folder that holds a LoRA adapter alone stands for its base model with the adapter merged in.

Only safetensors weights and the small files beside them are fetched from the Hub, never pickles.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from globalprune.errors import ModelNotFound

_HUB_ID = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^@\s]+))?")
_FETCHED = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.md",
    "*.model",
    "*.jinja",
    "*.py",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "USE_POLICY*",
)
_DOUBLES = ("consolidated*", "original/*")  # the same weights once more, in another layout
ADAPTER_CONFIG = "adapter_config.json"
_LOCAL_WAY_OUT = "name a folder with config.json, a .gguf file, or a Hub id."


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
    path = Path(text).expanduser()
    if path.is_dir():
        return _local_folder(text, path)
    if path.exists():
        return _local_file(text, path)
    hub_id = _HUB_ID.fullmatch(text)
    if _is_path_like(text) or hub_id is None:
        raise ModelNotFound(f"{text}: no such file or folder; {_LOCAL_WAY_OUT}")
    return _from_hub(text, hub_id["id"], hub_id["revision"])


def _is_path_like(text: str) -> bool:
    """Whether the text can only have been meant as a local path."""
    return text.startswith((".", "/", "~")) or text.lower().endswith(".gguf")


def _local_folder(text: str, path: Path) -> ModelSource:
    """Take a folder that holds a config.json."""
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
    raise ModelNotFound(f"{text}: the folder has no config.json; {_LOCAL_WAY_OUT}")


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
        raise ModelNotFound(f"{text}: is a file, but no .gguf; {_LOCAL_WAY_OUT}")
    return source


def _from_hub(text: str, hub_id: str, revision: str | None) -> ModelSource:
    """Download a snapshot (or take it from the cache) and note its commit."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(_FETCHED),
                ignore_patterns=list(_DOUBLES),
            )
        )
    # the client's HTTP library, and with it the errors it lets through, differs between releases
    except Exception as error:
        raise ModelNotFound(_hub_failure(text, hub_id, revision, error)) from error
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"{text}: this Hub model has no config.json; {_LOCAL_WAY_OUT}")
    # the cache names the folder after the commit, which says more than a branch
    return ModelSource(text, folder, revision=folder.name)


def _hub_failure(text: str, hub_id: str, revision: str | None, error: Exception) -> str:
    """Say what went wrong on the way to the Hub, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return (
                f"{text}: the model is gated; accept its terms at https://huggingface.co/{hub_id} "
                "and log in with `hf auth login`."
            )
        case RepositoryNotFoundError():
            return (
                f"{text}: is no local path, and the Hub has no such public model; mend the name, "
                "or log in with `hf auth login` if it is private."
            )
        case RevisionNotFoundError():
            return f"{text}: the Hub model has no revision {revision!r}; name one that it has."
        case LocalEntryNotFoundError():
            found = "is no local path and not in the local Hub cache, and the Hub can't be reached"
        case _:
            found = f"can't be fetched from the Hub ({_first_line(error)})"
    return (
        f"{text}: {found}; download it where there is a network (`hf download {hub_id}`), "
        "or give a folder."
    )


def _first_line(error: Exception) -> str:
    """The head of a message, or the error's kind when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
