"""How a person types a mapping: block or flow, quotes or none, remarks, notes and blank lines.

All spellings of a mapping mean the same.
"""

import random
from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = "str | Keys"
Keys: TypeAlias = "list[tuple[str, Value]]"

REMARKS = ("# mine", "# don't: 3, 4", '# "0-7"?', "# {mlp: 9}", "#")
NOTES = (*REMARKS, "#   leaves layer 1 as it is", "    # größer", "")


class Indices(str):
    """A set of indices, which may stand in quotes or not."""

    __slots__ = ()


def rarely(hand: random.Random) -> bool:
    """One time in six."""
    return hand.random() > 5 / 6


def spelled(hand: random.Random, indices: set[int], groups: int) -> Indices:
    """The set as numbers and ranges in any order, however they are split; or `all` if it is."""
    if len(indices) == groups and hand.random() > 0.5:
        return Indices("all")
    parts: list[str] = []
    left = sorted(indices)
    while left:
        run = next((at for at, index in enumerate(left) if index != left[0] + at), len(left))
        taken, left = left[: (take := hand.randint(1, run))], left[take:]
        single = take == 1 and not rarely(hand)
        dash = hand.choice(["-", "-", " - "])
        parts.append(str(taken[0]) if single else f"{taken[0]}{dash}{taken[-1]}")
    hand.shuffle(parts)
    return Indices(hand.choice([", ", ",", " , "]).join(parts))


def annotated(hand: random.Random, lines: list[str]) -> list[str]:
    """The lines with notes and blank lines among them."""
    noted: list[str] = []
    for line in lines:
        noted += [hand.choice(NOTES), line] if rarely(hand) else [line]
    return [*noted, hand.choice(NOTES)] if rarely(hand) else noted


def typed(hand: random.Random, keys: Keys) -> list[str]:
    """The mapping as lines of a file; folded values are within a line."""
    return annotated(hand, list(_block(hand, keys, "")))


def _block(hand: random.Random, keys: Keys, pad: str) -> Iterator[str]:
    """Yield a line for every key, and those of the mapping behind it unless that is in braces."""
    for key, value in keys:
        if value and not isinstance(value, str) and hand.random() > 0.5:
            yield f"{pad}{key}:{_remark(hand)}"
            yield from _block(hand, value, pad + hand.choice(["  ", "    "]))
        else:
            yield f"{pad}{key}: {_flow(hand, value, pad, inside=False)}{_remark(hand)}"


def _flow(hand: random.Random, value: Value, pad: str, *, inside: bool) -> str:
    """The value on a line, or over several; `inside` braces a comma needs quotes."""
    if isinstance(value, Indices):
        return _quoted(hand, value, pad, inside=inside)
    if isinstance(value, str):
        return value
    items = [f"{key}: {_flow(hand, inner, pad + '  ', inside=True)}" for key, inner in value]
    if not items or not rarely(hand):
        return f"{{{', '.join(items)}}}"
    lines = [f"{pad}    {item},{_remark(hand)}" for item in items]
    return "\n".join(["{", *lines, f"{pad}  }}"])


def _quoted(hand: random.Random, indices: Indices, pad: str, *, inside: bool) -> str:
    """The set in quotes or, where it may be, without; sometimes it goes on in the next line."""
    quotes = ['"', "'"]
    if indices and not (inside and "," in indices):
        quotes.append("")
    quote = hand.choice(quotes)
    text = (
        indices.replace(", ", f",\n{pad}      ", hand.randint(1, 9))
        if rarely(hand) or len(indices) > 200
        else indices
    )
    return f"{quote}{text}{quote}"


def _remark(hand: random.Random) -> str:
    """A comment behind what stands there, or none."""
    return f"  {hand.choice(REMARKS)}" if rarely(hand) else ""
