"""The header of a safetensors file: names, shapes and dtypes, without torch and without a weight.

Eight bytes say how long the header is, then it comes as JSON, then the numbers:
https://huggingface.co/docs/safetensors/index#format
"""

import json
from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo

_LENGTH: Final = 8  # bytes
_LONGEST: Final = 100_000_000  # bytes, as the format has it


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Read the tensors of a file; raise `CheckpointError` unless it is a whole one."""
    try:
        return _tensors(_read_entries(file))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: is no whole safetensors file ({error}); download or save the model again."
        ) from error


def _tensors(entries: dict[str, Any]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(tuple(map(int, entry["shape"])), entry["dtype"])
        for name, entry in entries.items()
    }


def _read_entries(file: Path) -> dict[str, Any]:
    """What the header says of each tensor; raise `ValueError` where numbers are missing."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH), "little")
        if length > _LONGEST:
            raise ValueError(f"a header of {length:,} bytes")
        entries: dict[str, Any] = json.loads(opened.read(length))
    entries.pop("__metadata__", None)
    ends = (int(entry["data_offsets"][1]) for entry in entries.values())
    promised, there = _LENGTH + length + max(ends, default=0), file.stat().st_size
    if promised != there:
        raise ValueError(f"its header promises {promised:,} bytes and {there:,} are there")
    return entries
