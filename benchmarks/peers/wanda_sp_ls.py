"""Wanda-sp, then GRAIL's reconstruction from the dense model's Gram matrices, in one shot.

The ridge is the paper's, 1e-3 of the mean diagonal, towards zero weights:
https://arxiv.org/abs/2602.23795. Its published code walks front to back instead, which is
`wanda_sp_ls_sequential`.
"""

import torch

from globalprune.statistics.interface import Site
from globalprune.text.windows import TokenWindows
from peers.allocation import even_counts
from peers.front_to_back import Method, prune_front_to_back
from peers.least_squares import Gram, ridge
from peers.subject import Subject
from peers.wanda_sp import scores

DAMP = 1e-3


def reconstructed(site: Site, gram: Gram, stays: torch.Tensor) -> torch.Tensor:
    """What stays, fitted to what all columns gave."""
    return ridge(site.linear.weight, gram.matrix, stays, DAMP)


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Choose and reconstruct every output by what enters it in the dense model."""
    method = Method(measure=Gram, score=scores, repair=reconstructed, sees="dense")
    return prune_front_to_back(subject, windows, even_counts(subject, need), method)
