"""The blocks of a page as values: facts, tables, pictures, commands; and their formatting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.command import format_command


@dataclass(frozen=True)
class Facts:
    """Names and what is known under them; a value may have several lines."""

    form: ClassVar[str] = "facts"

    rows: tuple[tuple[str, str], ...]
    title: str = ""  # with one, the facts are folded away under it


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first naming its row; a cell may have several lines."""

    form: ClassVar[str] = "table"

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""  # with one, the table is folded away under it


@dataclass(frozen=True)
class Plot:
    """A drawing with the sentence under it."""

    form: ClassVar[str] = "picture"

    caption: str
    svg: str  # our own drawing: the one text that isn't escaped


@dataclass(frozen=True)
class Lines:
    """Sentences, one a line: what was measured with, what is doubtful."""

    form: ClassVar[str] = "lines"

    lines: tuple[str, ...]
    doubtful: bool = False


@dataclass(frozen=True)
class Commands:
    """Commands as a shell reads them."""

    form: ClassVar[str] = "commands"

    lines: tuple[str, ...]


Block = Facts | Table | Plot | Lines | Commands


@dataclass(frozen=True)
class Subsection:
    """What one artifact says."""

    kind: str  # analysis, plan, result, compensation, recovery, evaluation, sweep
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class OverviewRow:
    """A model in the first table; an empty text is unknown, or none was measured."""

    what: str
    parameters: str = ""
    removed: str = ""
    perplexity: str = ""
    judged_on: str = ""
    windows: str = ""  # digest: perplexities are comparable where it is the same


@dataclass(frozen=True)
class Section:
    """All that one path holds."""

    name: str
    parts: tuple[Subsection, ...]
    glances: tuple[OverviewRow, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]


def warning_block(lines: tuple[str, ...]) -> tuple[Lines, ...]:
    """What is doubtful, as a block if there is any."""
    return (Lines(lines, doubtful=True),) if lines else ()


def command_block(command: Sequence[str]) -> tuple[Commands, ...]:
    """A command, as a block if it is known; what Python made has none."""
    return (Commands((format_command(command),)),) if command else ()


NOT_KNOWN = "not known"


def format_percent(part: float | None) -> str:
    """A part of one, `12.34 %`."""
    return NOT_KNOWN if part is None else f"{100 * part:.2f} %"


def format_share(part: int, whole: int) -> str:
    """`1,024 of 4,096 (25.00 %)`."""
    return f"{part:,} of {whole:,}" + (f" ({format_percent(part / whole)})" if whole else "")


def describe_text(text: TextRecord) -> str:
    """Text by name and amount."""
    length = "their own length" if text.seq_len is None else f"{text.seq_len:,} tokens"
    seed = "" if text.seed is None else f", seed {text.seed}"
    bos = ", BOS first" if text.bos else ""
    return (
        f"{text.samples:,} windows of {length} of {text.source}, "
        f"{text.predicted_tokens:,} predicted tokens{seed}{bos}"
    )


def describe_model(source: str, revision: str | None) -> str:
    """A model by its name, and its revision if it has one."""
    return source if revision is None else f"{source}@{revision}"


def format_duration(seconds: float) -> str:
    """`12.3 s`, `4 min 10 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def describe_versions(versions: Mapping[str, str]) -> str:
    """`python 3.11, torch 2.6`."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def provenance_block(digests: Mapping[str, str | None], versions: Mapping[str, str]) -> Facts:
    """Digests by which files and models are known again, and tools; folded away."""
    known = [(name, digest) for name, digest in digests.items() if digest]
    return Facts((*known, ("tools", describe_versions(versions))), title="Digests and versions")
