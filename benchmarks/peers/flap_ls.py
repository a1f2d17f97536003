"""FLAP's choice with GRAIL's reconstruction in place of the bias, front to back.

As GRAIL's published code joins the two: the ranking is FLAP's, of the dense model; then every layer
is fitted on the pruned stream, with a ridge of 1e-3 of the mean diagonal towards zero weights.
https://arxiv.org/abs/2602.23795
"""

import torch

from globalprune.statistics.interface import Site
from globalprune.text.windows import TokenWindows
from peers.allocation import global_cut
from peers.flap import fluctuations
from peers.front_to_back import Method, prune_front_to_back
from peers.least_squares import Gram, ridge
from peers.subject import Subject

DAMP = 1e-3


def prune_with(subject: Subject, windows: TokenWindows, need: int, damp: float) -> int:
    """Rank by fluctuation, then take out and fit layer by layer."""
    gone = global_cut(subject, fluctuations(subject, windows), need)
    counts = {sublayer: int(groups.sum()) for sublayer, groups in gone.items()}

    def chosen(site: Site, _gram: Gram) -> torch.Tensor:
        return 1 - gone[site.sublayer].double()  # what goes is lowest

    def fitted(site: Site, gram: Gram, stays: torch.Tensor) -> torch.Tensor:
        return ridge(site.linear.weight, gram.matrix, stays, damp)

    method = Method(measure=Gram, score=chosen, repair=fitted, sees="layers")
    return prune_front_to_back(subject, windows, counts, method)


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """With the ridge that GRAIL's code has by default."""
    return prune_with(subject, windows, need, DAMP)
