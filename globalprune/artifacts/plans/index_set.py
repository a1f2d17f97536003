"""A set of indices as a person writes it: `"4, 17-31, 1500"`, `all`, or a number.

Whether an index exists is checked by the caller, who holds the structure.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

ALL = "all"
_PART = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_PLAIN = re.compile(r"[0-9\s,-]+", re.ASCII)
_JSON_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^\s*(all|\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*)?\s*$"},
        {"type": "integer", "minimum": 0},
    ],
    "description": 'Group indices, such as "4, 17-31", or all.',
}


@dataclass(frozen=True)
class IndexRanges:
    """A set of indices: sorted inclusive ranges that neither touch nor overlap; or `everything`."""

    ranges: tuple[tuple[int, int], ...] = ()
    everything: bool = False

    @classmethod
    def parse(cls, value: Any) -> "IndexRanges":
        """Read what stands in a plan; raise `ValueError` with the way to write it."""
        match value:
            case IndexRanges():
                return value
            case bool() | float() | None:
                raise ValueError(f'{value!r} is not a set of indices; write "4, 17-31" or all.')
            case int() if value >= 0:
                return cls(((value, value),))
            case str() if value.strip() == ALL:
                return cls(everything=True)
            case str():
                parts, problems = _parse_parts(value)
                ranges, repeated = _merged(parts)
                if problems or repeated:
                    raise ValueError(" ".join((*problems, *repeated)))
                return cls(ranges)
            case _:
                raise ValueError(f'{value!r} is not a set of indices; write "4, 17-31" or all.')

    @classmethod
    def of(cls, indices: Iterable[int]) -> "IndexRanges":
        """The ranges that hold exactly these indices."""
        return cls(_merged((index, index) for index in set(indices))[0])

    def resolve(self, count: int) -> NDArray[np.int64]:
        """The indices in order, where `all` means `count` of them."""
        if self.everything:
            return np.arange(count)
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

    def minus(self, other: "IndexRanges") -> "IndexRanges":
        """What only this set holds, without naming a single index; neither may be `all`."""
        left: list[tuple[int, int]] = []
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
        return IndexRanges(tuple(left))

    def __str__(self) -> str:
        return self._spelled

    @cached_property
    def _spelled(self) -> str:
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


def _parse_parts(text: str) -> tuple[list[tuple[int, int]], list[str]]:
    """Take each comma-separated part as (first, last), and say which are none."""
    if (plain := _plain_parts(text)) is not None:
        return plain, []
    parts, problems = [], []
    for part in text.split(",") if text.strip() else ():
        found = _PART.fullmatch(part.strip())
        if found is None:
            problems.append(f'{part.strip()!r} is no index or range; write "4, 17-31" or all.')
            continue
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            problems.append(f"'{first}-{last}' runs backwards; write '{last}-{first}'.")
            continue
        parts.append((first, last))
    return parts, problems


def _plain_parts(text: str) -> list[tuple[int, int]] | None:
    """The same in a tenth of the time; None where something may be wrong."""
    if not _PLAIN.fullmatch(text):
        return None
    ends = [part.partition("-") for part in text.split(",")]
    try:
        parts = [(int(first), int(last or first)) for first, _, last in ends]
    except ValueError:
        return None
    return None if any(last < first for first, last in parts) else parts


def _merged(parts: Iterable[tuple[int, int]]) -> tuple[tuple[tuple[int, int], ...], list[str]]:
    """Sort and join neighbours, and say what is named twice."""
    parts = list(parts)
    if all(last + 1 < first for (_, last), (first, _) in pairwise(parts)):
        return tuple(parts), []
    merged: list[tuple[int, int]] = []
    problems = []
    for first, last in sorted(parts):
        if merged and first <= merged[-1][1]:
            problems.append(f"index {first} is named twice; name each once.")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged), problems
