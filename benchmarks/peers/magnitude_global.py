"""Sum of absolute weights for each parameter, ranked over the whole model: no text is read.

The norm baseline of LLM-Pruner, https://arxiv.org/abs/2305.11627, under one global budget.
"""

from globalprune.statistics.reducers.activations import magnitudes
from globalprune.text.windows import TokenWindows
from peers.allocation import global_cut
from peers.subject import Subject, take_out


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Take out the groups with the smallest mean |θ| of all."""
    del windows
    sums = magnitudes(subject.sites)
    scores = {sublayer: values / subject.cost(sublayer) for sublayer, values in sums.items()}
    return take_out(subject, global_cut(subject, scores, need))
