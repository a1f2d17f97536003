"""Models on the Hugging Face Hub: which files are fetched, and what a failure means."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.errors import ModelNotFound


def hub_failure(
    text: str, hub_id: str, revision: str | None, file: str | None, error: Exception
) -> str:
    """Put an error of the Hub's client into words; `file` is the GGUF file that was asked for."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
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
        case LocalEntryNotFoundError():  # an EntryNotFoundError too, but of a network
            found = "is no local path and not in the local Hub cache, and the Hub can't be reached"
        case EntryNotFoundError():
            return no_config(text) if file is None else _no_file(text, hub_id, file)
        case _:
            found = f"can't be fetched from the Hub ({_first_line(error)})"
    wanted, instead = (hub_id, "a folder") if file is None else (f"{hub_id} {file}", "a local file")
    return (
        f"{text}: {found}; download it where there is a network (`hf download {wanted}`), "
        f"or give {instead}."
    )


def no_config(text: str) -> str:
    """Say that a model on the Hub has none, and what it may have instead."""
    return (
        f"{text}: this Hub model has no config.json; if it holds GGUF files, name one of them: "
        f"{text}/FILE.gguf"
    )


def _no_file(text: str, hub_id: str, file: str) -> str:
    return (
        f"{text}: the Hub model has no file {file}; its files are listed at "
        f"https://huggingface.co/{hub_id}/tree/main"
    )


def _first_line(error: Exception) -> str:
    """The head of a message, or the error's kind when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_PLACE: Final = re.compile(
    r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^@/\s]+))?"
    r"|(?P<owner>[\w.-]+/[\w.-]+)(?:@(?P<at>[^@/\s]+))?/(?P<file>(?:[\w.-]+/)*[\w.-]+(?i:\.gguf))"
)
_QUANT_TAG: Final = re.compile(r"(?P<id>[\w.-]+/[\w.-]+):(?P<tag>\w+)")  # as llama.cpp has it
_FETCHED: Final = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.md",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    "*.model.v*",
    "bpe.codes",
    "*.py",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "USE_POLICY*",
    "COPYING*",
    "COPYRIGHT*",
)
CONFIG_FILE: Final = "config.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
_DOUBLES: Final = ("consolidated*", "original/*")  # the same weights once more, in another layout


@dataclass(frozen=True)
class HubModel:
    """Where on the Hub a model is; `text` as its user wrote it, `file` a path to a GGUF file."""

    text: str
    hub_id: str
    revision: str | None
    file: str | None = None

    def commit_of(self, path: Path) -> str:
        """The commit that was fetched: the cache names the snapshot's folder after it.

        It says more than a branch, which moves.
        """
        depth = 0 if self.file is None else self.file.count("/") + 1
        return (path, *path.parents)[depth].name


def parse_hub_model(text: str) -> HubModel | None:
    """Read a Hub id or a GGUF file's place; None for what can only be a local path."""
    if text.startswith((".", "/", "~")):
        return None
    if tagged := _QUANT_TAG.fullmatch(text):
        raise ModelNotFound(
            f"{text}: a quantisation isn't enough to find a file by; name the file: "
            f"{tagged['id']}/FILE.gguf"
        )
    match = _PLACE.fullmatch(text)
    if match is None or (match["file"] is None and text.lower().endswith(".gguf")):
        return None
    if match["file"] is not None:
        return HubModel(text, match["owner"], match["at"], match["file"])
    return HubModel(text, match["id"], match["revision"])


def fetch_model(place: HubModel) -> Path:
    """Download a model, or take it from the cache; raise `ModelNotFound`."""
    if place.file is not None:
        return _fetch_file(place, place.file)
    folder = _fetch_folder(place)
    if not any((folder / name).is_file() for name in (CONFIG_FILE, ADAPTER_CONFIG)):
        raise ModelNotFound(no_config(place.text))
    return folder


def fetch_config(place: HubModel) -> Path:
    """Download config.json alone, or take it from the cache; raise `ModelNotFound`."""
    return _fetch_file(place, CONFIG_FILE)


def _fetch_folder(place: HubModel) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            place.hub_id,
            revision=place.revision,
            allow_patterns=list(_FETCHED),
            ignore_patterns=list(_DOUBLES),
        )
    # the client's HTTP library, and with it the errors it lets through, differs between releases
    except Exception as error:
        raise ModelNotFound(_failure(place, error)) from error
    return Path(folder)


def _fetch_file(place: HubModel, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place.hub_id, file, revision=place.revision))
    except Exception as error:
        raise ModelNotFound(_failure(place, error)) from error


def _failure(place: HubModel, error: Exception) -> str:
    return hub_failure(place.text, place.hub_id, place.revision, place.file, error)
