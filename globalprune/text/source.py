"""What `--data SRC` means: a closed union of the places where text comes from.

Only names are decided here; nothing of the text is read and no network is asked.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.errors import TextError

BUILTIN: Final = "builtin"
SUFFIXES: Final = (".txt", ".jsonl", ".parquet", ".arrow")
SPLIT_WORDS: Final = ("train", "test", "validation", "valid", "val", "dev", "eval")
DEFAULT_SPLIT: Final = "train"
_PATH_SUFFIXES: Final = (*SUFFIXES, ".json", ".csv", ".tsv", ".md", ".gz", ".zst", ".zip")
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TAKES = f"Text is a {', '.join(SUFFIXES)} file, a folder of these, a Hub data set, or `{BUILTIN}`."


@dataclass(frozen=True)
class LocalText:
    """Files on this machine, in the order in which they are read."""

    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class HubText:
    """A data set on the Hub, to be streamed."""

    name: str
    dataset: str
    config: str | None
    split: str


@dataclass(frozen=True)
class BuiltinText:
    """The Python manual that every CPython carries."""

    name: str = BUILTIN


TextSource = LocalText | HubText | BuiltinText


def parse_source(text: str) -> TextSource:
    """Say what SRC names; the word `builtin` wins over a local path, a local path over the Hub."""
    if text == BUILTIN:
        return BuiltinText()
    try:
        paths = _local(Path(text).expanduser())
    except (OSError, RuntimeError) as error:  # a name too long, no permission, `~` of nobody
        reason = getattr(error, "strerror", None) or error
        raise TextError(f"{text}: can't be looked for ({reason}). {_TAKES}") from error
    if paths:
        return LocalText(text, paths)
    if _looks_like_path(text):
        raise TextError(f"{text}: there is no such file or folder. {_TAKES}")
    return _hub(text)


def _local(path: Path) -> tuple[Path, ...]:
    """The files that a local path names; none if there is no such path."""
    if path.is_dir():
        return _files_in(path)
    if not path.exists():
        return ()
    return (_regular(_readable(path)),)


def _files_in(folder: Path) -> tuple[Path, ...]:
    """The text files that lie directly in a folder, by name; subfolders are left alone."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = tuple(
        _regular(entry) for entry in entries if entry.suffix in SUFFIXES and not entry.is_dir()
    )
    if not found:
        seen = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise TextError(f"{folder}: holds no {', '.join(SUFFIXES)} file (found {seen}). {_TAKES}")
    return found


def _readable(path: Path) -> Path:
    """The path, if its suffix is one that we read."""
    if path.suffix not in SUFFIXES:
        found = f"`{path.suffix}`" if path.suffix else "no suffix"
        raise TextError(f"{path}: has {found}, which tells no kind of text. {_TAKES}")
    return path


def _regular(path: Path) -> Path:
    """The path, if it is a file: reading a pipe waits for ever, and a device has no end."""
    if path.is_file():
        return path
    found = "a pipe, a socket or a device" if path.exists() else "a link to nothing"
    raise TextError(f"{path}: is {found}, not a file; write the text into one.")


def _looks_like_path(text: str) -> bool:
    """Whether a person who typed this meant a file, so that the Hub must not be asked for it."""
    return text.startswith((".", "/", "~")) or "\\" in text or text.endswith(_PATH_SUFFIXES)


def _hub(text: str) -> HubText:
    """Take `id[:config][:split]` apart; a single part is the split if it is a usual name of one."""
    dataset, *parts = text.split(":")
    most_parts = 2
    if not _HUB_ID.fullmatch(dataset) or len(parts) > most_parts:
        raise TextError(f"{text!r}: is neither a path nor a Hub id (id[:config][:split]). {_TAKES}")
    if len(parts) == 1:
        parts = ["", parts[0]] if parts[0] in SPLIT_WORDS else [parts[0], ""]
    config, split = parts or ("", "")
    return HubText(text, dataset, config or None, split or DEFAULT_SPLIT)
