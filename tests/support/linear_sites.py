"""Single linear layers as sites, small enough to be reckoned through by hand."""

from typing import Literal

import torch
from torch import nn

from globalprune.models.architecture import GroupAxis
from globalprune.statistics.interface import Counts, Site, Split


def linear_site(
    weight: list[list[float]],
    bias: list[float] | None = None,
    *,
    groups: int = 2,
    side: Literal["rows", "columns"] = "rows",
    dtype: torch.dtype = torch.float32,
) -> Site:
    """A layer whose groups own rows and their biases, or columns and no bias."""
    values = torch.tensor(weight, dtype=dtype)
    linear = nn.Linear(values.shape[1], values.shape[0], bias=bias is not None, dtype=dtype)
    with torch.no_grad():
        linear.weight.copy_(values)
        if bias is not None:
            linear.bias.copy_(torch.tensor(bias, dtype=dtype))
    dim = 0 if side == "rows" else 1
    width = values.shape[dim] // groups
    axes = {"weight": GroupAxis("weight", dim, (width,))}
    if bias is not None and side == "rows":
        axes["bias"] = GroupAxis("bias", 0, (width,))
    return Site("layer.linear", (0, "mlp"), 0, groups, linear, axes, is_output=side == "columns")


def over(windows: int = 1, tokens: int = 1, predicted: int = 1) -> Split[Counts]:
    """So much text, not split into halves."""
    return Split(Counts(windows, tokens, predicted))
