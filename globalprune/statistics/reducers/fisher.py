"""Fisher information of group gates, plain and winsorised, and the curvature at the outputs.

A gate scales all that a group feeds into the output projection; J_su is the derivative of window
s's summed loss along the gate of group u. See `IMPORTANCES` for the papers.

Where a norm stands behind the sublayer, J is a secant. Scaling all that enters a norm changes
nothing that leaves it, so the derivatives along the gates of a sublayer add up to zero there, and
that of a single group is zero, however much is lost without it. The step from the open gate to the
shut one shows the loss: with n the norm, o_t its input at token t, W_u a_tu the part of it that
group u adds, and δ_t the gradient behind the norm,

    J_su = Σ_t δ_t · [n(o_t) - n(o_t - W_u a_tu)].
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch.nn import functional

from globalprune.statistics.interface import (
    Batch,
    Counts,
    GradientAt,
    GroupBlock,
    GroupSums,
    Reducer,
    Site,
    Split,
    Statistic,
    widened,
)
from globalprune.statistics.post_norm import PostNorm, RmsNorm
from globalprune.statistics.reducers.group_sums import OutputSquares, block_name, join_blocks

CLIPPED: Final = 0.05  # of a group's windows, those with the largest |J|
_GATES, _PREDICTED = "gates", "predicted"  # in the names of saved tensors
_NUMBERS: Final = 2**22  # in a tensor of tokens and groups, 16 MiB in float32
_NEARLY_ALL: Final = 1e-2  # of |o|² left without the group: a difference would lose its digits


class GateReducer(Reducer):
    """The base of reducers of J_su: a derivative, or a secant where a norm hides the gates."""

    gradient_at: GradientAt | None = "gate"

    def uses(self, site: Site) -> bool:
        """Return whether the groups feed the site."""
        return site.is_output

    def on_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Handle the derivatives of a batch."""
        self.on_gates(site, gate_gradients(site, inputs, delta, batch), batch)

    def on_post_norm_gradient(
        self,
        site: Site,
        norm: PostNorm,
        inputs: torch.Tensor,
        output: torch.Tensor,
        delta: torch.Tensor,
        batch: Batch,
    ) -> None:
        """Handle the secants of a batch."""
        self.on_gates(site, secant_gates(site, norm, inputs, output, delta, batch), batch)

    @abstractmethod
    def on_gates(self, site: Site, gates: torch.Tensor, batch: Batch) -> None:
        """Handle J of every window and group, in nats, float64 `[B, groups]`."""


class GateFisher(GateReducer, OutputSquares):
    """½ · Σ_s J_su² / Σ_s T_s for every group, with T_s the predicted tokens of window s."""

    def on_gates(self, site: Site, gates: torch.Tensor, batch: Batch) -> None:
        """Add the squares of every window's J."""
        del batch
        self._squares.add(site, gates.square().sum(dim=0))

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Return half the mean over predicted tokens."""
        return {"gate_fisher": self._squares.divided(counts, lambda text: 2 * text.predicted)}


class WinsorisedGateFisher(GateReducer):
    """The same, with each group's |J_su| / √T_s clipped at its upper 5 % over the windows.

    It holds J on the CPU: a float32 for every window and group.
    """

    def __init__(self) -> None:
        self._gates: dict[GroupBlock, list[torch.Tensor]] = {}  # float32 [B, groups]
        self._predicted: dict[GroupBlock, list[int]] = {}  # T_s of every window

    def on_gates(self, site: Site, gates: torch.Tensor, batch: Batch) -> None:
        """Append every window's J."""
        self._gates.setdefault(site.block, []).append(gates.to("cpu", torch.float32))
        self._predicted.setdefault(site.block, []).extend([batch.predicted] * batch.windows)

    def end_first_half(self) -> None:
        """Do nothing: J of every window is there."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return J `[windows, groups]` and T `[windows]` of every block."""
        state = {}
        for block, gates in self._gates.items():
            state[f"{_GATES}.{block_name(block)}"] = torch.cat(gates)
            state[f"{_PREDICTED}.{block_name(block)}"] = torch.tensor(self._predicted[block])
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore J and T."""
        for site in sites:
            gates = state.get(f"{_GATES}.{block_name(site.block)}")
            predicted = state.get(f"{_PREDICTED}.{block_name(site.block)}")
            if gates is not None:
                self._gates[site.block] = [gates]
            if predicted is not None:
                self._predicted[site.block] = predicted.tolist()

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Return half the mean of the clipped squares, clipped anew for each half of the text."""
        whole = self._over(slice(None))
        if counts.halves is None:
            return {"gate_fisher_winsorised": Split(whole)}
        middle = counts.halves[0].windows
        halves = (self._over(slice(middle)), self._over(slice(middle, None)))
        return {"gate_fisher_winsorised": Split(whole, halves)}

    def _over(self, windows: slice) -> GroupSums:
        """Return the statistic over some of the windows."""
        return join_blocks(
            {
                block: winsorised_fisher(
                    torch.cat(gates)[windows], torch.tensor(self._predicted[block][windows])
                )
                for block, gates in self._gates.items()
            }
        )


class OutputCurvature(OutputSquares):
    """Σ_t δ_t² / predicted tokens for every output `[O]`, δ_t = ∂(Σ nll)/∂output of token t."""

    gradient_at: GradientAt | None = "output"

    def on_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Add the squares of every token's gradient of its window's summed loss."""
        del inputs
        deltas = widened(delta) * (batch.predicted / batch.scale)
        self._squares.add(site, deltas.square().sum(dim=(0, 1), dtype=torch.float64))

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Return the mean over predicted tokens."""
        return {"output_curvature": self._squares.divided(counts, lambda text: text.predicted)}


def gate_gradients(
    site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """Return J_su in nats, float64 `[B, groups]`; `delta` is that of the windows' mean losses."""
    terms = widened(inputs) * widened(delta)  # [B, T, D]
    sums = terms.sum(dim=1, dtype=torch.float64)
    gates = sums.reshape(len(sums), site.groups, site.axes["weight"].width).sum(dim=2)
    return gates * (batch.predicted / batch.scale)


def winsorised_fisher(gates: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Return ½ · Σ_s J_su² / Σ_s T_s with clipped J: float64 `[groups]`.

    `gates` is `[N, groups]`, `predicted` `[N]`. J of a longer window is larger by nature, as √T_s,
    so windows are compared by J / √T_s.
    """
    per_token = gates.double().square() / predicted[:, None]  # [N, groups]
    clipped = torch.minimum(per_token, per_token.topk(_at_cap(len(gates)), dim=0).values[-1])
    return (clipped * predicted[:, None]).sum(dim=0) / (2 * int(predicted.sum()))


def _at_cap(windows: int) -> int:
    """Return how many windows end up at the cap, so that none of them outweighs all others.

    Of 128 windows they are 7. At the usual 99.5 % the cap would lie within the largest two.
    """
    return min(windows, max(2, math.ceil(CLIPPED * windows)))


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
