"""The effect of shutting a gate where a norm stands behind the sublayer, as a secant.

Scaling all that enters a norm changes nothing that leaves it. So the derivatives along the gates of
a sublayer add up to zero there, and that of a single group is zero, however much is lost without
it. The step from the open gate to the shut one shows the loss: with n the norm, o_t its input at
token t, W_u a_tu the part of it that group u adds, and δ_t the gradient behind the norm,

    J_su = Σ_t δ_t · [n(o_t) - n(o_t - W_u a_tu)],

which the gate Fisher uses as it does the derivative.
"""

from typing import Final

import torch
from torch.nn import functional

from globalprune.statistics.interface import Batch, Site, widened
from globalprune.statistics.post_norm import PostNorm, RmsNorm

_NUMBERS: Final = 2**22  # in a tensor of tokens and groups, 16 MiB in float32
_NEARLY_ALL: Final = 1e-2  # of |o|² left without the group: a difference would lose its digits


@torch.no_grad()
def secant_gates(
    site: Site,
    norm: PostNorm,
    inputs: torch.Tensor,
    output: torch.Tensor,
    delta: torch.Tensor,
    batch: Batch,
) -> torch.Tensor:
    """Return J_su in nats, float64 `[B, groups]`.

    `inputs` `[B, T, n]` enter the site, `output` `[B, T, D]` leaves it for the norm, and `delta`
    `[B, T, D]` is the gradient of the windows' mean losses behind the norm.
    """
    gates = _Gates(site, norm)
    windows = zip(widened(inputs), widened(output), widened(delta), strict=True)
    secants = [gates.of_window(*window) for window in windows]
    return torch.stack(secants) * (batch.predicted / batch.scale)


class _Gates:
    """The gates of one site, computed for some tokens at a time."""

    def __init__(self, site: Site, norm: PostNorm) -> None:
        self._weight = site.parameter("weight")  # [D, n]
        bias = site.linear.bias
        self._bias = None if bias is None else widened(bias.detach())
        self._groups = site.groups
        self._width = site.axes["weight"].width
        self._norm = norm

    def of_window(
        self, inputs: torch.Tensor, output: torch.Tensor, delta: torch.Tensor
    ) -> torch.Tensor:
        """Return J of one window's tokens `[T, ...]`, float64 `[groups]`."""
        rms = self._norm.rms
        total = torch.zeros(self._groups, dtype=torch.float64, device=inputs.device)
        squares = self._weight.square().sum(dim=0)  # [n]
        step = max(1, _NUMBERS // max(self._weight.shape))
        for tokens in zip(*(torch.split(t, step) for t in (inputs, output, delta)), strict=True):
            if rms is not None and self._width == 1:
                total += self._of_channels(rms, squares, *tokens)
            else:
                total += self._of_groups(tokens[0], tokens[2])
        return total

    def _of_channels(
        self,
        rms: RmsNorm,
        squares: torch.Tensor,
        inputs: torch.Tensor,
        output: torch.Tensor,
        delta: torch.Tensor,
    ) -> torch.Tensor:
        """Return J of groups of one input each behind a root mean square norm, by two products.

        With c = w_u a_tu, g = weight · δ_t and r the inverse sizes of o and o - c, it is
        g·c r(o - c) + g·o [r(o) - r(o - c)], the bracket written without a difference.
        """
        weighted = delta * rms.weight
        own = (weighted @ self._weight).mul_(inputs)  # g·c, [t, n]
        size = output.square().mean(dim=-1, keepdim=True) + rms.epsilon
        change = inputs * (inputs * squares - 2 * (output @ self._weight))
        change /= output.shape[-1]
        rest = size + change
        near = rest < _NEARLY_ALL * size
        rest = rest.clamp(min=torch.finfo(rest.dtype).tiny)
        along = (weighted * output).sum(dim=-1, keepdim=True)
        bracket = change / ((size * rest).sqrt() * (size.sqrt() + rest.sqrt()))
        secants = own.mul_(rest.rsqrt()).add_(along * bracket)
        token, channel = near.nonzero(as_tuple=True)
        for pairs in torch.split(torch.arange(len(token), device=token.device), len(inputs)):
            at = token[pairs], channel[pairs]
            secants[at] = self._of_pairs(inputs[at[0]], at[1], delta[at[0]])
        return secants.sum(dim=0, dtype=torch.float64)

    def _of_pairs(
        self, inputs: torch.Tensor, channels: torch.Tensor, delta: torch.Tensor
    ) -> torch.Tensor:
        """Return J `[p]` of one channel for each token, without the closed form."""
        whole = functional.linear(inputs, self._weight, self._bias)
        others = inputs.scatter(1, channels[:, None], 0)
        rest = functional.linear(others, self._weight, self._bias)
        lost: torch.Tensor = self._norm.wide(whole) - self._norm.wide(rest)
        return (lost * delta).sum(dim=-1)

    def _of_groups(self, inputs: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Return J of any groups behind any norm, which runs on what is left without each."""
        step = max(1, _NUMBERS // delta.numel())
        parts = list(torch.split(torch.arange(self._groups, device=inputs.device), step))
        updates = self._updates(inputs, parts[0])
        whole = updates.sum(dim=0, dtype=torch.float64)
        for part in parts[1:]:
            whole += self._updates(inputs, part).sum(dim=0, dtype=torch.float64)
        if self._bias is not None:
            whole += self._bias
        normed = self._norm.wide(whole.to(delta))
        secants = []
        for part in parts:
            updates = updates if len(parts) == 1 else self._updates(inputs, part)
            rest = (whole - updates.double()).to(delta)  # zero where there is a single group
            lost = (normed - self._norm.wide(rest)).mul_(delta)
            secants.append(lost.sum(dim=(1, 2), dtype=torch.float64))
        return torch.cat(secants)

    def _updates(self, inputs: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return W_u a_tu of some groups, `[groups, t, D]`."""
        entering = inputs.reshape(len(inputs), self._groups, self._width)[:, groups]
        weight = self._weight.reshape(-1, self._groups, self._width)[:, groups]
        return torch.bmm(entering.permute(1, 0, 2), weight.permute(1, 2, 0))
