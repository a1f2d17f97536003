"""The most memory that measuring took, where the model ran."""

import resource
import sys

import torch


def peak_memory(device: str) -> int:
    """Bytes: of the GPU's allocator if the model ran there, else of this process."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB
