"""A mixture's experts one by one, where transformers keeps the weights of all in one tensor.

What passes through a single expert, and what it is worth, can only be seen where it runs by itself.
"""

from typing import Any

import torch
from torch import nn

from globalprune.models.modeling_globalprune import Expert, Experts, expert_names


def take_apart(model: nn.Module) -> None:
    """Let every layer run its experts one by one, in the memory of the fused weights.

    A model without experts, or one whose experts lie apart already, is left alone.
    """
    for module in list(model.modules()):
        fused: Any = getattr(module, "experts", None)
        if isinstance(fused, nn.Module) and hasattr(fused, "gate_up_proj"):
            module.experts = _apart(fused, model.config)


def _apart(fused: Any, config: Any) -> Experts:
    """The experts as modules; `gate_up_proj` is `[E, 2F, D]`, `down_proj` `[E, D, F]`."""
    names = expert_names(config)
    experts = {}
    for number, (both, down) in enumerate(zip(fused.gate_up_proj, fused.down_proj, strict=True)):
        gate, up = both.chunk(2)
        linears = _sharing(gate), _sharing(up), _sharing(down)
        experts[str(number)] = Expert(linears, names, fused.act_fn)
    return Experts(experts)


def _sharing(weight: torch.Tensor) -> nn.Linear:
    """A linear layer without a bias, whose weight is this memory."""
    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return linear
