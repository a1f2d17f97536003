"""Wanda-sp: |W_ij|·‖x_j‖ summed to structures, evenly from every layer, front to back.

A column's score is the mean of its row scores, a group's the sum of its columns'. Each layer's
norms are taken after the layers before it were pruned, as in FLAP's repository, where it is a
baseline.
Wanda: https://arxiv.org/abs/2306.11695; the structured form: https://arxiv.org/abs/2312.11983.
"""

import torch

from globalprune.statistics.interface import Site
from globalprune.text.windows import TokenWindows
from peers.allocation import even_counts
from peers.front_to_back import Method, prune_front_to_back, zeroed
from peers.least_squares import Gram, Squares
from peers.subject import Subject, by_group


def scores(site: Site, measured: Squares | Gram) -> torch.Tensor:
    """Σ_{j∈u} mean_i |W_ij| · ‖x_j‖ of every group."""
    by_column = site.parameter("weight").abs().double().mean(dim=0) * measured.squares().sqrt()
    return by_group(site, by_column).sum(dim=1)


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Take out the lowest of every layer; nothing is repaired."""
    method = Method(measure=Squares, score=scores, repair=zeroed, sees="layers")
    return prune_front_to_back(subject, windows, even_counts(subject, need), method)
