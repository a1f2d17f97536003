"""Arithmetic in float64 throughout, of models too that compute norms and softmax in float32."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class DoubleArithmetic(TorchFunctionMode):
    """Within it, what asks for float32 gets float64.

    Equalities of arithmetic are then told apart from rounding, which a norm right after a nearly
    silent sublayer (Gemma's) makes as loud as 1e-4.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call what was called, with the wider type."""
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        wider = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return func(*map(_wider, args), **wider)


def _wider(value: Any) -> Any:
    """Float64 for float32, anything else as it is."""
    return torch.float64 if value is torch.float32 else value
