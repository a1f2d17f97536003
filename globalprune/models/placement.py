"""The device and dtype of a run, and the peak memory of the process."""

import resource
import sys
from dataclasses import dataclass
from typing import Final

import torch

from globalprune.errors import UsageError
from globalprune.models.checkpoints.checkpoint import Checkpoint

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TORCH_DTYPE_NAMES: Final = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class Placement:
    """Where the model runs, and in what precision; None takes the checkpoint's."""

    device: str
    dtype: torch.dtype | None


def choose_placement(device: str | None, dtype: str | None) -> Placement:
    """Choose a device, the first GPU if there is one, and a dtype.

    Raise `UsageError` for a device that can't be used here, and for an unknown dtype.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: is not a precision; there are {', '.join(DTYPES)}.")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=chosen).item()  # the meta device has memory, but no numbers
    except (RuntimeError, AssertionError, ImportError) as error:  # as torch was built
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch's internals follow
        raise UsageError(f"--device {chosen}: can't be used here ({reason}); try cpu.") from error
    return Placement(chosen, None if dtype is None else DTYPES[dtype])


def choose_float64_placement(device: str | None, dtype: str | None) -> Placement:
    """Choose like `choose_placement`, for sums over a text, which are float64.

    Raise `UsageError` for a device without float64 too.
    """
    placement = choose_placement(device, dtype)
    if torch.device(placement.device).type == "mps":
        raise UsageError(f"--device {placement.device}: has no float64; say --device cpu.")
    return placement


def compute_dtype(placement: Placement, checkpoint: Checkpoint) -> torch.dtype:
    """Return the placement's dtype, else float32 on a CPU and the checkpoint's own elsewhere.

    Raise `UsageError` for a checkpoint whose dtype models aren't computed in.
    """
    if placement.dtype is not None:
        return placement.dtype
    if placement.device.startswith("cpu"):
        return torch.float32
    stored = next(iter(checkpoint.tensors.values())).dtype
    if stored not in TORCH_DTYPE_NAMES:
        raise UsageError(
            f"{checkpoint.source.name}: is stored as {stored}; name a --dtype: {', '.join(DTYPES)}."
        )
    return DTYPES[TORCH_DTYPE_NAMES[stored]]


def peak_memory(device: str) -> int:
    """Return the peak in bytes of the GPU's allocator, or of the process for another device."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB
