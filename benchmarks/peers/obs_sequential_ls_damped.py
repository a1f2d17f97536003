"""`obs_sequential_ls` with SlimGPT's damping, 1e-2 of the mean diagonal, in the update too.

Heavier damping trusts the calibration text less: better with little text or on other domains.
"""

from globalprune.text.windows import TokenWindows
from peers.obs_sequential_ls import SELECTION_DAMP, prune_with
from peers.subject import Subject


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Attention groups and MLP channels in the proportion of their parameters."""
    return prune_with(subject, windows, need, "spread", SELECTION_DAMP)
