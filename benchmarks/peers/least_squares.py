"""The closed forms of layer-wise reconstruction, on Gram matrices H = XᵀX of an output's inputs.

W is `[O, D]`, its columns belong to groups; S is what stays, P what goes.
"""

import torch


class Gram:
    """H = Σ xᵀx over all tokens, in float64, and what can be read off it."""

    def __init__(self) -> None:
        self.matrix = torch.zeros(0, 0, dtype=torch.float64)  # [D, D]

    def take(self, inputs: torch.Tensor) -> None:
        """Add the inputs of a batch, `[tokens, D]`."""
        wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        added = (wide.T @ wide).double()
        self.matrix = added if self.matrix.numel() == 0 else self.matrix + added

    def squares(self) -> torch.Tensor:
        """‖x_j‖² of every column."""
        return self.matrix.diagonal()


class Squares:
    """Only the diagonal of H, for criteria that need no more."""

    def __init__(self) -> None:
        self._sums = torch.zeros(1, dtype=torch.float64)

    def take(self, inputs: torch.Tensor) -> None:
        """Add the squares of a batch."""
        self._sums = self._sums + inputs.double().square().sum(dim=0)

    def squares(self) -> torch.Tensor:
        """‖x_j‖² of every column."""
        return self._sums


def damped(gram: torch.Tensor, damp: float) -> torch.Tensor:
    """H + damp · mean(diag H) · I; columns that nothing ever enters get a one on the diagonal."""
    dead = (gram.diagonal() == 0).double()
    return gram + torch.diag(damp * gram.diagonal().mean() + dead)


def ridge(
    weight: torch.Tensor, gram: torch.Tensor, stays: torch.Tensor, damp: float
) -> torch.Tensor:
    """W' with W'_S = W H_:S (H_SS + λI)⁻¹ and W'_P = 0: a ridge towards zero weights.

    GRAIL, https://arxiv.org/abs/2602.23795, with λ = damp · mean(diag H_SS).
    """
    fitted = torch.linalg.solve(damped(_square(gram, stays), damp), gram[stays] @ weight.double().T)
    return _spread(fitted.T, weight, stays)


def obs_update(
    weight: torch.Tensor, gram: torch.Tensor, stays: torch.Tensor, damp: float
) -> torch.Tensor:
    """W' with W'_S = W_S + W_P H_PS (H_SS + λI)⁻¹ and W'_P = 0: a ridge towards the old weights.

    What the optimal brain surgeon leaves after removing P from a damped H, in one step;
    SlimGPT, https://arxiv.org/abs/2412.18110; OSSCAR, https://arxiv.org/abs/2403.12983.
    """
    gone = ~stays
    old = weight.double()
    shifted = torch.linalg.solve(
        damped(_square(gram, stays), damp), gram[stays][:, gone] @ old[:, gone].T
    )
    return _spread(old[:, stays] + shifted.T, weight, stays)


def obs_scores(weight: torch.Tensor, gram: torch.Tensor, groups: int, damp: float) -> torch.Tensor:
    """½ tr(W_u [(H⁻¹)_uu]⁻¹ W_uᵀ): what removing u alone costs when the rest makes up for it.

    A channel's is ½‖W_u‖² / (H⁻¹)_uu; https://arxiv.org/abs/2412.18110, equation 5 and section 4.
    """
    inverse = torch.linalg.inv(damped(gram, damp))
    width = weight.shape[1] // groups
    blocks = inverse.reshape(groups, width, groups, width)
    own = blocks[torch.arange(groups), :, torch.arange(groups), :]  # [G, k, k]
    parts = weight.double().reshape(weight.shape[0], groups, width).permute(1, 2, 0)  # [G, k, O]
    adapted: torch.Tensor = torch.linalg.solve(own, parts)
    return (parts * adapted).sum(dim=(1, 2)) / 2


def _square(gram: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """H_SS."""
    return gram[rows][:, rows]


def _spread(fitted: torch.Tensor, weight: torch.Tensor, stays: torch.Tensor) -> torch.Tensor:
    """The fitted columns in their places, and zeros."""
    whole = torch.zeros_like(weight)
    whole[:, stays] = fitted.to(weight.dtype)
    return whole
