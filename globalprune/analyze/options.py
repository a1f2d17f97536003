"""What a person may say about where and how to measure, checked before anything is loaded."""

import re
from dataclasses import dataclass

import torch

from globalprune.artifacts.groups import ModelStructure
from globalprune.errors import UsageError

_LAYERS = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Where the model runs, and in what precision; None is left to the checkpoint."""

    device: str
    dtype: torch.dtype | None


def choose_placement(device: str | None, dtype: str | None) -> Placement:
    """The first GPU if there is one; raise `UsageError` for what torch doesn't have here."""
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: is not a precision; there are {', '.join(DTYPES)}.")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=chosen).item()  # meta gives memory, but never a number
    except (RuntimeError, AssertionError, ImportError) as error:  # by how torch was built
        reason = str(error).partition("\n")[0].partition(". ")[0]  # then come torch's internals
        raise UsageError(f"--device {chosen}: can't be used here ({reason}); try cpu.") from error
    return Placement(chosen, None if dtype is None else DTYPES[dtype])


def check_batch_size(batch_size: int) -> None:
    """Raise `UsageError` unless at least one window runs at a time."""
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1.")


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
    if not any(half.groups for index, _, half in structure.halves() if index in layers):
        raise UsageError(f"{where}: these layers have no groups left to measure; name others.")
    return layers
