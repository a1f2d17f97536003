"""What `--data SRC[@WEIGHT]` names: files on this machine, a Hub data set, or the builtin text.

Only names are resolved here: no text is read and no network is used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.errors import TextError

BUILTIN: Final = "builtin"
SUFFIXES: Final = (".txt", ".jsonl", ".parquet", ".arrow")
SPLIT_NAMES: Final = ("train", "test", "validation", "valid", "val", "dev", "eval")
DEFAULT_SPLIT: Final = "train"
MAX_WEIGHT: Final = 1e9
_PATH_SUFFIXES: Final = (*SUFFIXES, ".json", ".csv", ".tsv", ".md", ".gz", ".zst", ".zip")
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WEIGHTED: Final = re.compile(r"(?P<source>.+)@(?P<weight>[^@/\\]+)")
_ACCEPTED: Final = (
    f"Text is a {', '.join(SUFFIXES)} file, a folder of these, a Hub data set, or `{BUILTIN}`."
)


@dataclass(frozen=True)
class LocalText:
    """Files on this machine, in the order in which they are read."""

    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class HubText:
    """A data set on the Hub, which is streamed."""

    name: str
    dataset: str
    config: str | None
    split: str


@dataclass(frozen=True)
class BuiltinText:
    """The Python manual that every CPython carries."""

    name: str = BUILTIN


TextSource = LocalText | HubText | BuiltinText


@dataclass(frozen=True)
class WeightedSource:
    """A source, and its share of all windows relative to the weights of the others."""

    source: TextSource
    weight: float


def parse_mixture(texts: Sequence[str]) -> tuple[WeightedSource, ...]:
    """Parse each `SRC[@WEIGHT]`; the weight is 1 where none is given.

    Only the proportions of the weights matter. Raise `TextError` for a weight that isn't a
    positive number, and as `parse_source` does.
    """
    return tuple(_parse_weighted(text) for text in texts)


def parse_source(text: str) -> TextSource:
    """Resolve SRC: the word `builtin` first, then a local path, then a Hub id.

    Raise `TextError` for a path that doesn't exist or holds no text, and for what is no Hub id.
    """
    if text == BUILTIN:
        return BuiltinText()
    try:
        paths = _local_files(Path(text).expanduser())
    except (OSError, RuntimeError) as error:  # a name too long, no permission, `~` of nobody
        reason = getattr(error, "strerror", None) or error
        raise TextError(f"{text}: can't be looked up ({reason}). {_ACCEPTED}") from error
    if paths:
        return LocalText(text, paths)
    if _looks_like_path(text):
        raise TextError(f"{text}: there is no such file or folder. {_ACCEPTED}")
    return _parse_hub(text)


def _parse_weighted(text: str) -> WeightedSource:
    """Parse one source with its weight; a path that exists as it is written has none."""
    match = _WEIGHTED.fullmatch(text)
    if match is None or _exists(text):
        return WeightedSource(parse_source(text), 1.0)
    try:
        weight = float(match["weight"])
    except ValueError as error:
        raise TextError(
            f"{text}: the part behind @ is the source's weight, and {match['weight']!r} is no "
            "number; write SRC@0.7."
        ) from error
    if not 0 < weight < MAX_WEIGHT:
        raise TextError(f"{text}: the weight {match['weight']} is not a number above 0 (to 1e9).")
    return WeightedSource(parse_source(match["source"]), weight)


def _exists(text: str) -> bool:
    """Whether the whole text names something on this machine."""
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError):
        return False


def _local_files(path: Path) -> tuple[Path, ...]:
    """Return the files that a local path names; none if the path doesn't exist."""
    if path.is_dir():
        return _files_in(path)
    if not path.exists():
        return ()
    return (_check_regular(_check_suffix(path)),)


def _files_in(folder: Path) -> tuple[Path, ...]:
    """Return the text files that lie directly in a folder, by name; subfolders are ignored."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = tuple(
        _check_regular(entry)
        for entry in entries
        if entry.suffix in SUFFIXES and not entry.is_dir()
    )
    if not files:
        others = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise TextError(
            f"{folder}: holds no {', '.join(SUFFIXES)} file (found {others}). {_ACCEPTED}"
        )
    return files


def _check_suffix(path: Path) -> Path:
    """Return the path; raise `TextError` for a suffix that isn't read."""
    if path.suffix not in SUFFIXES:
        suffix = f"the suffix `{path.suffix}`" if path.suffix else "no suffix"
        raise TextError(f"{path}: has {suffix}, which names no kind of text. {_ACCEPTED}")
    return path


def _check_regular(path: Path) -> Path:
    """Return the path; raise `TextError` for a pipe or a device, whose reading may never end."""
    if path.is_file():
        return path
    kind = "a pipe, a socket or a device" if path.exists() else "a broken link"
    raise TextError(f"{path}: is {kind}, not a file; write the text into a file.")


def _looks_like_path(text: str) -> bool:
    """Whether the text can only mean a file, so that the Hub isn't searched for it."""
    return text.startswith((".", "/", "~")) or "\\" in text or text.endswith(_PATH_SUFFIXES)


def _parse_hub(text: str) -> HubText:
    """Parse `id[:config][:split]`; a single part is the split if it is a usual name of one."""
    dataset, *parts = text.split(":")
    max_parts = 2
    if not _HUB_ID.fullmatch(dataset) or len(parts) > max_parts:
        raise TextError(
            f"{text!r}: is neither a path nor a Hub id (id[:config][:split]). {_ACCEPTED}"
        )
    if len(parts) == 1:
        parts = ["", parts[0]] if parts[0] in SPLIT_NAMES else [parts[0], ""]
    config, split = parts or ("", "")
    return HubText(text, dataset, config or None, split or DEFAULT_SPLIT)
