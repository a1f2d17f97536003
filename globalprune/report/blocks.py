"""The blocks of a page as values: facts, tables, pictures, commands; and their formatting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from globalprune.artifacts.formatting import describe_versions
from globalprune.artifacts.records import format_command

NOT_KNOWN: Final = "not known"


@dataclass(frozen=True)
class Facts:
    """Names and their values; a value may have several lines."""

    form: ClassVar[str] = "facts"

    rows: tuple[tuple[str, str], ...]
    title: str = ""  # with one, the facts are folded under it


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of which names its row; a cell may have several lines."""

    form: ClassVar[str] = "table"

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""  # with one, the table is folded under it


@dataclass(frozen=True)
class Plot:
    """A drawing with its caption."""

    form: ClassVar[str] = "picture"

    caption: str
    svg: str  # drawn by this package: the one text that isn't escaped


@dataclass(frozen=True)
class Lines:
    """Sentences, one a line: how something was measured, or warnings."""

    form: ClassVar[str] = "lines"

    lines: tuple[str, ...]
    are_warnings: bool = False


@dataclass(frozen=True)
class Commands:
    """Commands as a shell reads them."""

    form: ClassVar[str] = "commands"

    lines: tuple[str, ...]


Block = Facts | Table | Plot | Lines | Commands


@dataclass(frozen=True)
class Subsection:
    """The blocks of one artifact."""

    kind: str  # analysis, plan, result, compensation, recovery, evaluation, sweep
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class OverviewRow:
    """A model in the overview table; an empty text is unknown, or was not measured."""

    what: str
    parameters: str = ""
    removed: str = ""
    perplexity: str = ""
    evaluated_on: str = ""
    windows: str = ""  # digest: perplexities are comparable where it is the same


@dataclass(frozen=True)
class Section:
    """All that one path holds."""

    name: str
    subsections: tuple[Subsection, ...]
    overview: tuple[OverviewRow, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]


def warning_block(lines: tuple[str, ...]) -> tuple[Lines, ...]:
    """Return a block of warnings, if there are any."""
    return (Lines(lines, are_warnings=True),) if lines else ()


def command_block(command: Sequence[str]) -> tuple[Commands, ...]:
    """Return a block of one command, if it is known; an artifact that Python code made has none."""
    return (Commands((format_command(command),)),) if command else ()


def provenance_block(digests: Mapping[str, str | None], versions: Mapping[str, str]) -> Facts:
    """Digests that identify files and models, and the versions of tools; folded."""
    known = [(name, digest) for name, digest in digests.items() if digest]
    return Facts((*known, ("tools", describe_versions(versions))), title="Digests and versions")


def format_percent(fraction: float | None) -> str:
    """Return a fraction as `12.34 %`."""
    return NOT_KNOWN if fraction is None else f"{100 * fraction:.2f} %"


def format_share(part: int, whole: int) -> str:
    """`1,024 of 4,096 (25.00 %)`."""
    return f"{part:,} of {whole:,}" + (f" ({format_percent(part / whole)})" if whole else "")


def format_duration(seconds: float) -> str:
    """`12.3 s`, `4 min 10 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
