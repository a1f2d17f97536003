"""What parts mean: perplexities over seeds, distances, and differences with paired errors."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from contest.ours import is_peer
from contest.part import Judged, Part
from contest.question import DENSE, Item

Estimate = tuple[float, float | None]  # a value, and its spread or standard error


@dataclass(frozen=True)
class Row:
    """A recipe at one ratio, over all its seeds that came to an end."""

    recipe: str
    ratio: float
    parts: tuple[Part, ...]

    def judged(self, text: str) -> list[Judged]:
        """The verdicts of one text, seed by seed."""
        return [part.texts[text] for part in self.parts]


def rows_of(parts: Sequence[Part]) -> list[Row]:
    """The parts by recipe and ratio, in the order in which they were run."""
    found: dict[tuple[str, float], list[Part]] = {}
    for part in parts:
        if part.error is None:
            found.setdefault((part.item.recipe, part.item.ratio), []).append(part)
    return [Row(recipe, ratio, tuple(own)) for (recipe, ratio), own in found.items()]


def failed_items(parts: Sequence[Part]) -> list[Item]:
    """What did not come to an end."""
    return [part.item for part in parts if part.error is not None]


def perplexity(judged: Judged) -> float:
    """exp(Σ nll / Σ tokens); infinite where a float can't hold it."""
    mean = math.fsum(judged.nll) / sum(judged.tokens)
    try:
        return math.exp(mean)
    except OverflowError:
        return math.inf


def row_perplexity(row: Row, text: str) -> Estimate:
    """The mean over seeds, and their standard deviation if there are several."""
    return mean_and_spread([perplexity(judged) for judged in row.judged(text)])


def row_divergence(row: Row, text: str) -> Estimate | None:
    """KL(dense || pruned) in nats a token, over seeds; None where it was not measured."""
    found = [
        math.fsum(judged.divergence) / sum(judged.tokens)
        for judged in row.judged(text)
        if judged.divergence is not None
    ]
    return mean_and_spread(found) if found else None


def mean_and_spread(values: Sequence[float]) -> Estimate:
    """The mean, and the standard deviation of more than one value."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return math.fsum(values) / len(values), spread


def log_difference(new: Row, old: Row, text: str) -> Estimate:
    """Give ln PPL of one row less that of another, with windows as the paired units.

    Each window's nll is first averaged over a row's seeds, so the error is that of the text; how
    far calibrations differ is another matter, and is what the spread over seeds says.
    """
    ours, theirs = new.judged(text), old.judged(text)
    if {judged.windows for judged in ours} != {judged.windows for judged in theirs}:
        raise ValueError(f"{text}: {new.recipe} and {old.recipe} were judged by other windows.")
    tokens = ours[0].tokens
    moved = [a - b for a, b in zip(_window_means(ours), _window_means(theirs), strict=True)]
    total = sum(tokens)
    mean = math.fsum(moved) / total
    units = len(moved)
    if units == 1:
        return mean, None
    residuals = [value - mean * count for value, count in zip(moved, tokens, strict=True)]
    squares = math.fsum(residual**2 for residual in residuals)
    return mean, math.sqrt(squares * units / (units - 1)) / total


def _window_means(judged: Sequence[Judged]) -> list[float]:
    """The nll of each window, averaged over seeds."""
    return [
        math.fsum(values) / len(judged) for values in zip(*(j.nll for j in judged), strict=True)
    ]


def best_peer(rows: Sequence[Row], ratio: float, text: str) -> Row | None:
    """The peer of the lowest perplexity at a ratio."""
    peers = [
        row for row in rows if row.ratio == ratio and row.recipe != DENSE and is_peer(row.recipe)
    ]
    return min(peers, key=lambda row: row_perplexity(row, text)[0], default=None)
