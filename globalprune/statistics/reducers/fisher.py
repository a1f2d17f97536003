"""Fisher information of group gates, plain and winsorised, and the curvature at the outputs.

A gate scales all that a group feeds into the output projection; J_su is the derivative of window
s's summed loss along the gate of group u. See `IMPORTANCES` for the papers.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

import torch

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
from globalprune.statistics.post_norm import PostNorm
from globalprune.statistics.reducers.group_sums import OutputSquares, block_name, join_blocks
from globalprune.statistics.reducers.secant import secant_gates

CLIPPED: Final = 0.05  # of a group's windows, those with the largest |J|
_GATES, _PREDICTED = "gates", "predicted"  # in the names of saved tensors


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
