"""Sets of indices for the terminal: how many there are, and the first of them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from globalprune.artifacts.plans.index_set import IndexRanges

SHOWN_HALVES = 200  # more are for --json
_WIDTH = 32  # characters of indices


def shortened(ranges: "IndexRanges") -> str:
    """The indices, cut short behind a comma where they are many, with their number."""
    text = str(ranges)
    if len(text) <= _WIDTH:
        return text
    head = text[: text.rindex(", ", 0, _WIDTH)]
    return f"{head}, … ({len(ranges):,} in all)"
