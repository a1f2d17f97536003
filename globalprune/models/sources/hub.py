"""Models on the Hub: how they are spelled, and how they are fetched.

`org/name[@revision]` is a folder, `org/name[@revision]/path/file.gguf` a file of one, as in the
Hub's own file system. Only safetensors weights and the small files beside them are fetched, never
pickles; a GGUF file comes alone.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.errors import ModelNotFound
from globalprune.models.sources.hub_failures import hub_failure, no_config

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
CONFIG: Final = "config.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
_DOUBLES: Final = ("consolidated*", "original/*")  # the same weights once more, in another layout


@dataclass(frozen=True)
class HubPlace:
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


def hub_place(text: str) -> HubPlace | None:
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
        return HubPlace(text, match["owner"], match["at"], match["file"])
    return HubPlace(text, match["id"], match["revision"])


def fetch(place: HubPlace) -> Path:
    """Download a model, or take it from the cache; raise `ModelNotFound`."""
    if place.file is not None:
        return _fetch_file(place, place.file)
    folder = _fetch_folder(place)
    if not any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG)):
        raise ModelNotFound(no_config(place.text))
    return folder


def fetch_config(place: HubPlace) -> Path:
    """Download config.json alone, or take it from the cache; raise `ModelNotFound`."""
    return _fetch_file(place, CONFIG)


def _fetch_folder(place: HubPlace) -> Path:
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


def _fetch_file(place: HubPlace, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place.hub_id, file, revision=place.revision))
    except Exception as error:
        raise ModelNotFound(_failure(place, error)) from error


def _failure(place: HubPlace, error: Exception) -> str:
    return hub_failure(place.text, place.hub_id, place.revision, place.file, error)
