"""Torch-Pruning's group Taylor over all MLP channels, one global ranking, by its public API.

`GroupTaylorImportance` as it stands by default, on the gradient of the mean loss over all windows.
https://github.com/VainF/Torch-Pruning
"""

import torch_pruning

from globalprune.text.windows import TokenWindows
from peers.llm_pruner import accumulate_gradients
from peers.packages import trainable
from peers.subject import Subject
from peers.torch_pruning_magnitude import prune_by


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Cut the channels whose loss to first order is smallest."""
    with trainable(subject.model):
        accumulate_gradients(subject, windows)
        importance = torch_pruning.importance.GroupTaylorImportance()
        return prune_by(importance, subject, windows, need)
