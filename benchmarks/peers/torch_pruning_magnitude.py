"""Torch-Pruning's group magnitude over all MLP channels, one global ranking, by its public API.

`GroupMagnitudeImportance` as it stands by default: mean L2 over a group's slices, divided by the
layer's mean. Attention can't be pruned globally by that package without breaking grouped queries,
so it stays whole. https://github.com/VainF/Torch-Pruning
"""

import warnings
from typing import Any

import torch_pruning
from torch import nn

from globalprune.evaluation.resources import count_parameters
from globalprune.text.windows import TokenWindows
from peers.packages import channels_wanted, mlp_of, removed_since
from peers.subject import Subject

TRACED_TOKENS = 8


def prune(subject: Subject, windows: TokenWindows, need: int) -> int:
    """Cut the channels of smallest magnitude."""
    return prune_by(torch_pruning.importance.GroupMagnitudeImportance(), subject, windows, need)


def prune_by(importance: Any, subject: Subject, windows: TokenWindows, need: int) -> int:
    """Cut as many MLP channels of the whole model as hold `need` parameters, by an importance.

    The package leaves a layer whole whose last channel would go, so the ratio that it is given
    rises by what is missing until enough goes.
    """
    before = count_parameters(subject.model)
    wanted = channels_wanted(subject, need)
    asked = wanted
    while (
        missing := wanted - _channels(chosen := _choose(importance, subject, windows, asked))
    ) > 0:
        asked += missing
    for group in chosen:
        group.prune()
    return removed_since(subject, before, need)


def _choose(importance: Any, subject: Subject, windows: TokenWindows, asked: int) -> list[Any]:
    """The package's groups for a ratio that means `asked` channels; nothing is cut yet."""
    every = mlp_of(subject).groups * len(subject.structure.layers)
    if asked >= every:
        raise ValueError("the package leaves too many layers whole to reach this ratio.")
    with warnings.catch_warnings():  # of norms, which lie in no group that is pruned here
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        pruner = torch_pruning.BasePruner(
            subject.model,
            example_inputs=windows.rows[0][None, :TRACED_TOKENS],
            importance=importance,
            global_pruning=True,
            # it keeps int(every · (1 - ratio)): the sublayer keeps the number whole
            pruning_ratio=(asked - 0.5) / every,
            ignored_layers=_others(subject),
            output_transform=lambda output: output.logits,
        )
    return list(pruner.step(interactive=True))


def _channels(groups: list[Any]) -> int:
    """How many channels go with these groups."""
    return sum(len(group[0].idxs) for group in groups)


def _others(subject: Subject) -> list[nn.Module]:
    """Every module that isn't the way into an MLP."""
    ways_in = {
        site.linear for site in subject.sites if site.sublayer[1] == "mlp" and not site.is_output
    }
    kinds = (nn.Linear, nn.Embedding)
    return [
        module
        for module in subject.model.modules()
        if isinstance(module, kinds) and module not in ways_in
    ]
