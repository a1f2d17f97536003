"""`obs_sequential_ls` with int(share · groups) attention groups from each layer.

With few attention groups a layer that is none at all, and MLP channels give everything. Which of
the two readings of "evenly" is the better one depends on the model, so both stand in the table.
"""

from globalprune.text.windows import TokenWindows
from peers.obs_sequential_ls import prune_with
from peers.subject import Subject


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Whole attention groups only where every layer can give one."""
    return prune_with(subject, windows, need, "floor")
