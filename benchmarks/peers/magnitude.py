"""Sum of absolute weights, evenly from every layer: no text is read.

The baseline `mag_sp` of FLAP's tables, https://arxiv.org/abs/2312.11983.
"""

from globalprune.statistics.reducers.activations import magnitudes
from globalprune.text.windows import TokenWindows
from peers.allocation import even_counts, lowest_of_each
from peers.subject import Subject, take_out


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Take out the groups with the smallest Σ|θ| of every layer."""
    del windows
    counts = even_counts(subject, need)
    return take_out(subject, lowest_of_each(magnitudes(subject.sites), counts))
