"""What least squares needs to know of tokens: Gram matrix, cross products and energy, summed.

Rows are tokens: `x [T, n]` enters a linear layer, `y [T, o]` is what it should give. Products are
formed in float32 or wider and summed in float64, as a few tokens can be a thousand times larger
than the rest.
"""

import torch


class NormalEquations:
    """Σ_t x_t x_tᵀ, Σ_t x_t y_tᵀ and Σ_t |y_t|² over all tokens seen."""

    def __init__(self, inputs: int, outputs: int, device: torch.device | str = "cpu") -> None:
        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.cross = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)
        self.energy = 0.0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add tokens."""
        x, y = _widened(x), _widened(y)
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.energy += float(y.double().square().sum())

    def error(self, weights: torch.Tensor) -> float:
        """Σ_t |x_tᵀ·weights - y_t|² as a part of Σ_t |y_t|², for `weights [n, o]`."""
        weights = weights.double()
        explained = (weights * (self.gram @ weights - 2 * self.cross)).sum()
        return (float(explained) + self.energy) / (self.energy or 1.0)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 or wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
