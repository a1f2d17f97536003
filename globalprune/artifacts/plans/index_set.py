"""A set of group indices as a person writes it: `"4, 17-31, 1500"`, `all`, or a number.

The set is stored as ranges, so that it stays small however many groups it holds. Whether an index
exists is checked by the caller, who holds the structure.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

ALL: Final = "all"
Range = tuple[int, int]  # first and last index, both inside
_RANGE: Final = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_PLAIN: Final = re.compile(r"[0-9\s,-]+", re.ASCII)
_JSON_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*(all|\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*)?\s*$"},
        {"type": "integer", "minimum": 0},
    ],
    "description": 'Group indices, such as "4, 17-31", or all.',
}


@dataclass(frozen=True)
class IndexSet:
    """A set of indices: sorted inclusive ranges that neither touch nor overlap; or `everything`.

    `everything` is the word `all`, which means nothing without a number of groups: `resolved`
    turns it into numbers. Lengths, iteration and set operations are those of the numbers.
    """

    ranges: tuple[Range, ...] = ()
    everything: bool = False

    @classmethod
    def parse(cls, value: Any) -> "IndexSet":
        """Read a value of a plan; raise `ValueError` with the way to write it."""
        match value:
            case IndexSet():
                return value
            case bool() | float() | None:
                raise ValueError(f'{value!r} is not a set of indices; write "4, 17-31" or all.')
            case int() if value >= 0:
                return cls(((value, value),))
            case str() if value.strip() == ALL:
                return cls(everything=True)
            case str():
                parts, problems = _parse_ranges(value)
                ranges, repeated = _merged(parts)
                if problems or repeated:
                    raise ValueError(" ".join((*problems, *repeated)))
                return cls(ranges)
            case _:
                raise ValueError(f'{value!r} is not a set of indices; write "4, 17-31" or all.')

    @classmethod
    def of(cls, indices: Iterable[int]) -> "IndexSet":
        """Return the set of exactly these indices, given in any order."""
        known = indices if isinstance(indices, np.ndarray) else list(indices)
        numbers = np.unique(np.asarray(known, np.int64))
        if not len(numbers):
            return cls()
        breaks = np.flatnonzero(np.diff(numbers) > 1)
        firsts = numbers[np.append(0, breaks + 1)].tolist()
        lasts = numbers[np.append(breaks, len(numbers) - 1)].tolist()
        return cls(tuple(zip(firsts, lasts, strict=True)))

    @classmethod
    def below(cls, count: int) -> "IndexSet":
        """Return the set 0 … count - 1."""
        return cls(((0, count - 1),)) if count else cls()

    def resolved(self, count: int) -> "IndexSet":
        """Return the same set as numbers, where `all` means 0 … count - 1."""
        return self.below(count) if self.everything else self

    def complement(self, count: int) -> "IndexSet":
        """Return those of 0 … count - 1 that are not in the set."""
        return self.below(count) - self.resolved(count)

    def within(self, first: int, stop: int) -> "IndexSet":
        """Return the indices from `first` up to `stop`, counted from `first`."""
        inside = ((max(a, first), min(b, stop - 1)) for a, b in self.ranges)
        return IndexSet(tuple((a - first, b - first) for a, b in inside if a <= b))

    def to_array(self) -> NDArray[np.int64]:
        """Return the numbers in order, `[len(self)]`."""
        first, last = np.asarray(self.ranges, np.int64).reshape(-1, 2).T
        sizes = last - first + 1
        before = np.cumsum(sizes) - sizes
        indices: NDArray[np.int64] = np.arange(int(sizes.sum()))
        indices += np.repeat(first - before, sizes)
        return indices

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __bool__(self) -> bool:
        return self.everything or bool(self.ranges)

    def __or__(self, other: "IndexSet") -> "IndexSet":
        return IndexSet(_merged((*self.ranges, *other.ranges))[0])

    def __and__(self, other: "IndexSet") -> "IndexSet":
        return self - (self - other)

    def __sub__(self, other: "IndexSet") -> "IndexSet":
        left: list[Range] = []
        cuts = iter(other.ranges)
        cut = next(cuts, None)
        for start, last in self.ranges:
            while cut is not None and cut[0] <= last:
                if cut[0] > start:
                    left.append((start, cut[0] - 1))
                start = max(start, cut[1] + 1)  # noqa: PLW2901 - what is left of the range
                if cut[1] > last:
                    break
                cut = next(cuts, None)
            if start <= last:
                left.append((start, last))
        return IndexSet(tuple(left))

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        if self.everything:
            return ALL
        return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(_JSON_SCHEMA)


def _parse_ranges(text: str) -> tuple[list[Range], list[str]]:
    """Read each comma-separated part as a range, and describe the parts that are none."""
    if (plain := _parse_plain(text)) is not None:
        return plain, []
    ranges, problems = [], []
    for part in text.split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            problems.append(f'{part.strip()!r} is no index or range; write "4, 17-31" or all.')
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            problems.append(f"'{first}-{last}' runs backwards; write '{last}-{first}'.")
            continue
        ranges.append((first, last))
    return ranges, problems


def _parse_plain(text: str) -> list[Range] | None:
    """Read the same in a tenth of the time; None where something may be wrong."""
    if not _PLAIN.fullmatch(text):
        return None
    ends = [part.partition("-") for part in text.split(",")]
    try:
        ranges = [(int(first), int(last or first)) for first, _, last in ends]
    except ValueError:
        return None
    return None if any(last < first for first, last in ranges) else ranges


def _merged(ranges: Iterable[Range]) -> tuple[tuple[Range, ...], list[str]]:
    """Sort and join neighbours, and describe what is named twice."""
    ranges = list(ranges)
    if all(last + 1 < first for (_, last), (first, _) in pairwise(ranges)):
        return tuple(ranges), []
    merged: list[Range] = []
    problems = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            problems.append(f"index {first} is named twice; name each once.")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged), problems
