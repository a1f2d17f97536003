"""Removed groups as a mask in a loaded model: their inputs to the output projections become zero.

The masked model computes what the cut model computes: all that a group adds to the residual stream
comes through the output projection, whose bias stays. No weight changes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from globalprune.artifacts.structure import RemovedGroups
from globalprune.statistics.interface import Site


def mask_groups(sites: Sequence[Site], removed: RemovedGroups) -> list[RemovableHandle]:
    """Mask the groups until the returned handles are removed."""
    return [
        site.linear.register_forward_pre_hook(partial(_mask_inputs, mask))
        for site in sites
        if site.is_output and site.sublayer in removed
        for mask in [_input_mask(site, removed[site.sublayer])]
    ]


@contextmanager
def masked(sites: Sequence[Site], removed: RemovedGroups) -> Iterator[None]:
    """Mask the groups while inside."""
    handles = mask_groups(sites, removed)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _input_mask(site: Site, groups: NDArray[np.int64]) -> torch.Tensor:
    """Mark the inputs of the projection that belong to these groups of its sublayer, `[inputs]`."""
    own = groups - site.first
    mask = torch.zeros(site.groups, dtype=torch.bool)
    mask[torch.from_numpy(own[(own >= 0) & (own < site.groups)])] = True
    return mask.repeat_interleave(site.linear.in_features // site.groups).to(site.device)


def _mask_inputs(mask: torch.Tensor, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of the projection, with zeros where the mask is set."""
    inputs, *others = args
    return (inputs.masked_fill(mask, 0), *others)
