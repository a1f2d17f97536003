"""A plan as a person types it: the mapping of its file, and the comment above it."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hand_edits import Pin, Sheet
from handwriting import Keys, Value, annotated, rarely, spelled, typed

from globalprune.artifacts.structure import GroupType


@dataclass(frozen=True)
class File:
    """A file; what gp wrote at its top stands between `above` and `below`."""

    text: str
    above: str
    below: str


def file_of(hand: random.Random, head: Sequence[str], keys: Keys) -> File:
    """Type the mapping below the schema and the comment of gp, with notes everywhere."""
    comment = list(head[1:])
    if rarely(hand):
        comment.remove(hand.choice(comment))
    lines = annotated(hand, [head[0], *comment])
    first = lines.index(comment[0])
    body = typed(hand, keys)
    newline = hand.choice(["\n", "\n", "\r\n"])
    text, above, below = (
        "".join(f"{line}\n" for line in part).replace("\n", newline)
        for part in (
            lines + body,
            lines[:first],
            [line for line in lines[first:] if line not in comment] + body,
        )
    )
    return File(text, above, below)


def keys_of(hand: random.Random, sheet: Sheet) -> Keys:
    """The sheet as a mapping of a file; `layers` is last, the rest in any order."""
    keys = [(name, _plain(value)) for name, value in sheet.others.items()]
    pins = {
        sublayer: _wishes(hand, pin, sheet.groups(*sublayer))
        for sublayer, pin in sheet.pins.items()
    }
    if pins or rarely(hand):
        keys.append(("pin", _by_layer(hand, pins)))
    hand.shuffle(keys)
    cuts: dict[tuple[int, GroupType], Value] = {}
    for layer, kind, sublayer in sheet.structure.sublayers():
        indices = {index for at, one, index in sheet.gone if (at, one) == (layer, kind)}
        if indices or rarely(hand):
            cuts[layer, kind] = spelled(hand, indices, sublayer.groups)
    return [*keys, ("layers", _by_layer(hand, cuts))]


def _plain(value: Any) -> Value:
    """What stands there, spelled as JSON, which is YAML too."""
    if isinstance(value, dict):
        return [(key, _plain(inner)) for key, inner in value.items()]
    return json.dumps(value)


def _wishes(hand: random.Random, pin: Pin, groups: int) -> Keys:
    """A pin as a mapping."""
    sets = {"keep": pin.keep, "remove": pin.remove}
    wishes: Keys = [(name, spelled(hand, said, groups)) for name, said in sets.items() if said]
    return wishes + [("width", str(pin.width))] * (pin.width is not None)


def _by_layer(hand: random.Random, sublayers: Mapping[tuple[int, GroupType], Value]) -> Keys:
    """A mapping of layers in any order, their numbers in quotes or not."""
    layers: dict[int, Keys] = {}
    for layer, kind in hand.sample(sorted(sublayers), len(sublayers)):
        layers.setdefault(layer, []).append((kind, sublayers[layer, kind]))
    return [(hand.choice([str(layer), f'"{layer}"']), said) for layer, said in layers.items()]
