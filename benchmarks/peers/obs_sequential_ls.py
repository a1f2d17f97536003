"""Optimal brain surgeon scores and least squares, evenly from every layer, front to back.

The strongest simple recipe of the literature: SlimGPT's criterion and update
(https://arxiv.org/abs/2412.18110) with all groups of a sublayer removed at once and the exact
solution on what stays, as in OSSCAR (https://arxiv.org/abs/2403.12983). Attention is pruned before
the MLP behind it is measured. The share of attention groups that goes is spread over the layers.
"""

import torch

from globalprune.statistics.interface import Site
from globalprune.text.windows import TokenWindows
from peers.allocation import Heads, even_counts
from peers.front_to_back import Method, prune_front_to_back
from peers.least_squares import Gram, obs_scores, obs_update
from peers.subject import Subject

SELECTION_DAMP = 1e-2
UPDATE_DAMP = 1e-4


def scores(site: Site, gram: Gram) -> torch.Tensor:
    """The error that a group's removal leaves behind, the others adapting."""
    weight = site.parameter("weight")
    return obs_scores(weight, gram.matrix, site.groups, SELECTION_DAMP)


def prune_with(
    subject: Subject, windows: TokenWindows, need: int, heads: Heads, damp: float = UPDATE_DAMP
) -> int:
    """Choose and adapt every sublayer by what the pruned model before it gives."""

    def updated(site: Site, gram: Gram, stays: torch.Tensor) -> torch.Tensor:
        return obs_update(site.linear.weight, gram.matrix, stays, damp)

    method = Method(measure=Gram, score=scores, repair=updated, sees="sublayers")
    return prune_front_to_back(subject, windows, even_counts(subject, need, heads=heads), method)


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Attention groups and MLP channels in the proportion of their parameters."""
    return prune_with(subject, windows, need, "spread")
