"""Which layers a person wants measured, checked before anything is loaded."""

import re

from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import UsageError

_LAYERS = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*")


def chosen_layers(text: str | None, structure: ModelStructure) -> range:
    """The layers that `A:B` names, half-open, either end left out; all without a text."""
    count = len(structure.layers)
    where = f"--layers {text}"
    match = _LAYERS.fullmatch(":" if text is None else text)
    if match is None:
        raise UsageError(f"{where}: is not A:B (from layer A up to, not including, B); say 10:15.")
    first, end = int(match[1] or 0), int(match[2] or count)
    if end > count:
        raise UsageError(
            f"{where}: the model has {count} layers, 0 to {count - 1}; end at {count}."
        )
    if first >= end:
        raise UsageError(f"{where}: names no layer of the {count}; A must be less than B.")
    layers = range(first, end)
    if not any(half.candidates for index, _, half in structure.halves() if index in layers):
        raise UsageError(f"{where}: these layers have no groups left to measure; name others.")
    return layers
