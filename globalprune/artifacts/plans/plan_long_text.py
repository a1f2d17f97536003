"""Long sets of indices, kept from ruamel, which goes through text character by character.

Before a plan is parsed each is replaced by a mark, and put back in the values; lines are told as
they were. When a plan is written it is the other way round. A short plan passes as it is.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from ruamel.yaml.comments import CommentedMap

from globalprune.artifacts.plans.index_ranges import IndexRanges

_LONG = re.compile(r'"([\d\s,-]{200,})"')
_WIDTH = 72  # of a line of indices, beside what stands before the first one
_MARK = re.compile("\ue000(\\d+)\ue001")  # of private characters: no plan has a use for them


class ShortenedText:
    """A text without what is long in it, and what that was."""

    def __init__(self, text: str) -> None:
        self._long: list[str] = []
        self._ends: list[int] = []  # where marks end in the shortened text
        self._missing = [0]  # lines that were left out, up to each of them
        self.text = text if _MARK.search(text) else "".join(self._parts(text))
        self._starts = [0, *(found.end() for found in re.finditer(r"\n", self.text))]

    def line(self, line: int, column: int) -> int:
        """The line of the whole text, from 0, where the shortened one has this place."""
        offset = self._starts[min(line, len(self._starts) - 1)] + column
        return line + self._missing[bisect_right(self._ends, offset)]

    def restore(self, document: Any) -> None:
        """Put back what was left out, in every value of a parsed document, with its lines."""
        if self._long:
            self._restore(document, set())

    def _parts(self, text: str) -> Iterator[str]:
        """Yield the text with a mark for everything long."""
        done = length = 0
        for found in _LONG.finditer(text):
            yield (part := f"{text[done : found.start()]}{_quoted_mark(len(self._long))}")
            done, length = found.end(), length + len(part)
            self._long.append(found[1])
            self._ends.append(length)
            self._missing.append(self._missing[-1] + found[0].count("\n"))
        yield text[done:]

    def _restore(self, value: Any, seen: set[int]) -> None:
        """The same below a value; an alias may lead in circles."""
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, CommentedMap):
            for place in (value.lc.data or {}).values():
                place[0] = self.line(place[0], place[1])
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(pairs):
            if isinstance(inner, str):
                if mark := _MARK.fullmatch(inner):
                    value[key] = _read(self._long[int(mark[1])])
            elif isinstance(inner, dict | list):
                self._restore(inner, seen)


class LongTexts:
    """What is long in a document that is to be written."""

    def __init__(self) -> None:
        self._long: list[str] = []

    def mark_for(self, ranges: str) -> str:
        """What stands for a set of indices until it is written: itself, unless it is long."""
        if not _LONG.fullmatch(f'"{ranges}"'):
            return ranges
        self._long.append(ranges)
        return f"\ue000{len(self._long) - 1}\ue001"

    def restore(self, text: str) -> str:
        """The text with every long set, folded to lines."""
        return _MARK.sub(self._folded, text)

    def _folded(self, mark: re.Match[str]) -> str:
        """A set over several lines, each behind a comma."""
        lines = re.findall(rf".{{1,{_WIDTH}}}(?: |$)", self._long[int(mark[1])])
        return "\n      ".join(line.rstrip(" ") for line in lines)


def _read(text: str) -> IndexRanges | str:
    """The set that a text spells, or the text if it is none."""
    try:
        return IndexRanges.parse(text)
    except ValueError:
        return text


def _quoted_mark(number: int) -> str:
    return f'"\ue000{number}\ue001"'
