"""What a page is made of: sections, one a path; parts, one a kind of artifact; blocks.

Plain values, all text: how they look is the template's, what they say is the sections'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from globalprune.artifacts.command import spelled_command


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
class Picture:
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


Block = Facts | Table | Picture | Lines | Commands


@dataclass(frozen=True)
class Part:
    """What one artifact says."""

    kind: str  # analysis, plan, result, compensation, recovery, evaluation, sweep
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Glance:
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
    parts: tuple[Part, ...]
    glances: tuple[Glance, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]


def warnings(lines: tuple[str, ...]) -> tuple[Lines, ...]:
    """What is doubtful, as a block if there is any."""
    return (Lines(lines, doubtful=True),) if lines else ()


def commands(command: Sequence[str]) -> tuple[Commands, ...]:
    """A command, as a block if it is known; what Python made has none."""
    return (Commands((spelled_command(command),)),) if command else ()
