"""Wanda-sp with GRAIL's reconstruction, layer by layer on the pruned stream.

As GRAIL's published code does it: norms and Gram matrices of a layer are taken after the layers
before it were pruned and reconstructed; https://arxiv.org/abs/2602.23795.
"""

from globalprune.text.windows import TokenWindows
from peers.allocation import even_counts
from peers.front_to_back import Method, prune_front_to_back
from peers.least_squares import Gram
from peers.subject import Subject
from peers.wanda_sp import scores
from peers.wanda_sp_ls import reconstructed


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Choose and reconstruct every layer by what the pruned layers before it give."""
    method = Method(measure=Gram, score=scores, repair=reconstructed, sees="layers")
    return prune_front_to_back(subject, windows, even_counts(subject, need), method)
