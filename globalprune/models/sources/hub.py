"""Models on the Hugging Face Hub: which files are fetched, and what a failure means.

The Hub's client has messages of its own; they name URLs and request ids, and no way to go on
without a network, so failures are put into our own words.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.errors import ModelNotFound

CONFIG_FILE: Final = "config.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
_PATTERN: Final = re.compile(
    r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^@/\s]+))?"
    r"|(?P<owner>[\w.-]+/[\w.-]+)(?:@(?P<at>[^@/\s]+))?/(?P<file>(?:[\w.-]+/)*[\w.-]+(?i:\.gguf))"
)
_QUANT_TAG: Final = re.compile(r"(?P<id>[\w.-]+/[\w.-]+):(?P<tag>\w+)")  # llama.cpp's notation
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
_DUPLICATES: Final = ("consolidated*", "original/*")  # the same weights in another layout


@dataclass(frozen=True)
class HubModel:
    """A model on the Hub: `text` as its user wrote it, `file` the path of a GGUF file there."""

    text: str
    hub_id: str
    revision: str | None
    file: str | None = None

    def commit_of(self, path: Path) -> str:
        """Return the commit of a fetched path: the cache names its folder after it.

        It says more than a branch, which moves.
        """
        depth = 0 if self.file is None else self.file.count("/") + 1
        return (path, *path.parents)[depth].name


def parse_hub_model(text: str) -> HubModel | None:
    """Parse `id[@revision]` or `id[@revision]/FILE.gguf`; None for what must be a local path.

    Raise `ModelNotFound` for llama.cpp's `id:QUANTISATION`, which names no file.
    """
    if text.startswith((".", "/", "~")):
        return None
    if tagged := _QUANT_TAG.fullmatch(text):
        raise ModelNotFound(
            f"{text}: a quantisation isn't enough to find a file by; name the file: "
            f"{tagged['id']}/FILE.gguf"
        )
    match = _PATTERN.fullmatch(text)
    if match is None or (match["file"] is None and text.lower().endswith(".gguf")):
        return None
    if match["file"] is not None:
        return HubModel(text, match["owner"], match["at"], match["file"])
    return HubModel(text, match["id"], match["revision"])


def fetch_model(model: HubModel) -> Path:
    """Download a model, or take it from the cache; raise `ModelNotFound`."""
    if model.file is not None:
        return _fetch_file(model, model.file)
    folder = _fetch_folder(model)
    if not any((folder / name).is_file() for name in (CONFIG_FILE, ADAPTER_CONFIG)):
        raise ModelNotFound(_no_config(model.text))
    return folder


def fetch_config(model: HubModel) -> Path:
    """Download config.json alone, or take it from the cache; raise `ModelNotFound`."""
    return _fetch_file(model, CONFIG_FILE)


def _fetch_folder(model: HubModel) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            model.hub_id,
            revision=model.revision,
            allow_patterns=list(_FETCHED),
            ignore_patterns=list(_DUPLICATES),
        )
    # the client's HTTP library, and with it the errors that it raises, differs between releases
    except Exception as error:
        raise ModelNotFound(_failure(model, error)) from error
    return Path(folder)


def _fetch_file(model: HubModel, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model.hub_id, file, revision=model.revision))
    except Exception as error:
        raise ModelNotFound(_failure(model, error)) from error


def _failure(model: HubModel, error: Exception) -> str:
    """Put an error of the Hub's client into words, with what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    text = model.text
    match error:
        case GatedRepoError():
            return (
                f"{text}: the model is gated; accept its terms at "
                f"https://huggingface.co/{model.hub_id} and log in with `hf auth login`."
            )
        case RepositoryNotFoundError():
            return (
                f"{text}: is no local path, and the Hub has no such public model; mend the name, "
                "or log in with `hf auth login` if it is private."
            )
        case RevisionNotFoundError():
            return (
                f"{text}: the Hub model has no revision {model.revision!r}; name one that it has."
            )
        case LocalEntryNotFoundError():  # an EntryNotFoundError too, raised without a network
            reason = "is no local path and not in the local Hub cache, and the Hub can't be reached"
        case EntryNotFoundError():
            return _no_config(text) if model.file is None else _no_file(model)
        case _:
            reason = f"can't be fetched from the Hub ({_first_line(error)})"
    if model.file is None:
        needed, instead = model.hub_id, "a folder"
    else:
        needed, instead = f"{model.hub_id} {model.file}", "a local file"
    return (
        f"{text}: {reason}; download it where there is a network (`hf download {needed}`), "
        f"or give {instead}."
    )


def _no_config(text: str) -> str:
    return (
        f"{text}: this Hub model has no config.json; if it holds GGUF files, name one of them: "
        f"{text}/FILE.gguf"
    )


def _no_file(model: HubModel) -> str:
    return (
        f"{model.text}: the Hub model has no file {model.file}; its files are listed at "
        f"https://huggingface.co/{model.hub_id}/tree/main"
    )


def _first_line(error: Exception) -> str:
    """Return the first line of a message, or the error's class where there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
