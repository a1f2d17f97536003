"""Several sources at once: `--data A@0.7 --data B@0.3` says how many windows come from each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.errors import TextError
from globalprune.text.source import TextSource, parse_source

_MOST: Final = 1e9
_WEIGHTED: Final = re.compile(r"(?P<source>.+)@(?P<weight>[^@/\\]+)")


@dataclass(frozen=True)
class WeightedSource:
    """A source, and its part of all windows beside the others' weights."""

    source: TextSource
    weight: float


def parse_mixture(texts: Sequence[str]) -> tuple[WeightedSource, ...]:
    """Take `SRC[@WEIGHT]` apart; without a weight it is 1. Only their proportions matter."""
    return tuple(_parse(text) for text in texts)


def windows_of_each(weights: Sequence[float], samples: int) -> list[int]:
    """Divide `samples` by weight, to the last one: the largest remainders are rounded up."""
    total = sum(weights)
    exact = [samples * weight / total for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: samples - sum(counts)]:
        counts[index] += 1
    return counts


def _parse(text: str) -> WeightedSource:
    """A path that exists as it stands is never taken apart."""
    found = _WEIGHTED.fullmatch(text)
    if found is None or _exists(text):
        return WeightedSource(parse_source(text), 1.0)
    try:
        weight = float(found["weight"])
    except ValueError as error:
        raise TextError(
            f"{text}: what stands behind @ is the source's weight, and {found['weight']!r} is no "
            "number; write SRC@0.7."
        ) from error
    if not 0 < weight < _MOST:
        raise TextError(f"{text}: the weight {found['weight']} is not a number above 0 (to 1e9).")
    return WeightedSource(parse_source(found["source"]), weight)


def _exists(text: str) -> bool:
    """Whether the whole text names something on this machine."""
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError):
        return False
