"""Groups that go, masked in a loaded model: nothing of them reaches an output projection.

That says what cutting them says: what enters an output projection is all that a group adds to the
stream, and the projection's bias stays. The weights are left alone.
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
    """Mask the groups until the handles are removed, or for good."""
    return [
        site.linear.register_forward_pre_hook(partial(_shut, gone))
        for site in sites
        if site.is_output and site.sublayer in removed
        for gone in [_inputs_gone(site, removed[site.sublayer])]
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


def _inputs_gone(site: Site, groups: NDArray[np.int64]) -> torch.Tensor:
    """Which inputs of the projection belong to these groups of its sublayer, `[inputs]`."""
    own = groups - site.first
    gone = torch.zeros(site.groups, dtype=torch.bool)
    gone[torch.from_numpy(own[(own >= 0) & (own < site.groups)])] = True
    return gone.repeat_interleave(site.linear.in_features // site.groups).to(site.device)


def _shut(gone: torch.Tensor, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of the projection, with zeros where a group is gone."""
    inputs, *others = args
    return (inputs.masked_fill(gone, 0), *others)
