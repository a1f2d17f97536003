"""Taking turns on a machine that drifts: whose turn it is, and what the clock says."""

import time

import torch


def turns_of(number: int, count: int) -> list[int]:
    """The order of `count` things in a round: it rotates, so that none is always first."""
    return [(place + number) % count for place in range(count)]


def now(device: torch.device) -> float:
    """The time in seconds once queued kernels have ended, so that it tells their time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
