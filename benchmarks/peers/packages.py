"""What the pruning packages of others have in common here: MLP channels, and counting."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from globalprune.artifacts.structure import SublayerStructure
from globalprune.evaluation.resources import count_parameters
from peers.subject import Subject


def channels_wanted(subject: Subject, need: int) -> int:
    """The fewest MLP channels of the whole model that hold `need` parameters."""
    sublayer = mlp_of(subject)
    wanted = math.ceil(need / sublayer.cost)
    if wanted >= sublayer.groups * len(subject.structure.layers):
        raise ValueError(f"{need:,} parameters are more than all MLP channels have.")
    return wanted


def mlp_of(subject: Subject) -> SublayerStructure:
    """The MLP that all layers have."""
    found = {layer.mlp.model_dump_json() for layer in subject.structure.layers}
    if len(found) != 1:
        raise ValueError("the layers differ in size; the packages prune even models.")
    return subject.structure.layers[0].mlp


def removed_since(subject: Subject, before: int, need: int) -> int:
    """The parameters that are really gone from a model that a package cut."""
    removed = before - count_parameters(subject.model)
    if removed < need:
        raise ValueError(f"the package took {removed:,} parameters, not the {need:,} asked for.")
    return removed


@contextmanager
def trainable(model: nn.Module) -> Iterator[None]:
    """Drop the gradients when their work is done."""
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
