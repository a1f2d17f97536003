"""Fisher information of group gates, plain and winsorised, and the curvature at the output."""

import math
from collections.abc import Mapping, Sequence

import torch

from globalprune.statistics.interface import (
    Batch,
    Counts,
    GradientPlace,
    GroupSums,
    NormBehind,
    Part,
    Site,
    Split,
    Statistic,
    StatisticReducer,
    widened,
)
from globalprune.statistics.reducers.group_sums import OutputSquares, join_parts, part_name
from globalprune.statistics.reducers.secant import secant_gates

_GATES, _PREDICTED = "gates", "predicted"
CLIPPED = 0.05  # of a group's windows, those with the largest |J|


class GateFisher(OutputSquares):
    """½ · Σ_s J_su² / Σ_s T_s for every group, T_s the predicted tokens of window s."""

    gradient_at: GradientPlace | None = "gate"

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Square every window's J on its own."""
        self._add(site, gate_gradients(site, inputs, delta, batch))

    def take_gradient_behind(
        self,
        site: Site,
        norm: NormBehind,
        inputs: torch.Tensor,
        output: torch.Tensor,
        delta: torch.Tensor,
        batch: Batch,
    ) -> None:
        """The same, of secants."""
        self._add(site, secant_gates(site, norm, inputs, output, delta, batch))

    def _add(self, site: Site, gates: torch.Tensor) -> None:
        self._squares.add(site, gates.square().sum(dim=0))

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Half the mean over predicted tokens."""
        return {"gate_fisher": self._squares.divided(counts, lambda text: 2 * text.predicted)}


class WinsorisedGateFisher(StatisticReducer):
    """The same, each group's |J_su| / √T_s clipped at its upper 5 % over the windows.

    It keeps J, a float32 for every window and group, on the CPU.
    """

    gradient_at: GradientPlace | None = "gate"

    def __init__(self) -> None:
        self._gates: dict[Part, list[torch.Tensor]] = {}  # float32 [B, groups]
        self._predicted: dict[Part, list[int]] = {}  # T_s of every window

    def watches(self, site: Site) -> bool:
        """Only what the groups feed."""
        return site.is_output

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Keep every window's J."""
        self._keep(site, gate_gradients(site, inputs, delta, batch), batch)

    def take_gradient_behind(
        self,
        site: Site,
        norm: NormBehind,
        inputs: torch.Tensor,
        output: torch.Tensor,
        delta: torch.Tensor,
        batch: Batch,
    ) -> None:
        """Keep every window's secant."""
        self._keep(site, secant_gates(site, norm, inputs, output, delta, batch), batch)

    def _keep(self, site: Site, gates: torch.Tensor, batch: Batch) -> None:
        self._gates.setdefault(site.part, []).append(gates.to("cpu", torch.float32))
        self._predicted.setdefault(site.part, []).extend([batch.predicted] * batch.windows)

    def halve(self) -> None:
        """Every window is kept, so there is nothing to remember."""

    def state(self) -> dict[str, torch.Tensor]:
        """J `[windows, groups]` and T `[windows]` of every part."""
        found = {}
        for part, gates in self._gates.items():
            found[f"{_GATES}.{part_name(part)}"] = torch.cat(gates)
            found[f"{_PREDICTED}.{part_name(part)}"] = torch.tensor(self._predicted[part])
        return found

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take them back."""
        for site in sites:
            gates = state.get(f"{_GATES}.{part_name(site.part)}")
            predicted = state.get(f"{_PREDICTED}.{part_name(site.part)}")
            if gates is not None:
                self._gates[site.part] = [gates]
            if predicted is not None:
                self._predicted[site.part] = predicted.tolist()

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Clip, anew for each half of the windows, and take half the mean over predicted tokens."""
        whole = self._over(slice(None))
        if counts.halves is None:
            return {"gate_fisher_winsorised": Split(whole)}
        middle = counts.halves[0].windows
        halves = (self._over(slice(middle)), self._over(slice(middle, None)))
        return {"gate_fisher_winsorised": Split(whole, halves)}

    def _over(self, windows: slice) -> GroupSums:
        """The statistic over some of the windows."""
        return join_parts(
            {
                part: winsorised_fisher(
                    torch.cat(gates)[windows], torch.tensor(self._predicted[part][windows])
                )
                for part, gates in self._gates.items()
            }
        )


def gate_gradients(
    site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """J_su in nats, float64 `[B, groups]`; `delta` is the gradient of the windows' mean losses."""
    terms = widened(inputs) * widened(delta)  # [B, T, D]
    sums = terms.sum(dim=1, dtype=torch.float64)
    gates = sums.reshape(len(sums), site.groups, site.axes["weight"].width).sum(dim=2)
    return gates * (batch.predicted / batch.scale)


def winsorised_fisher(gates: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """½ · Σ_s J_su² / Σ_s T_s with clipped J; `gates [N, groups]`, `predicted [N]`; float64.

    J of a longer window is larger by nature, as √T_s, so that is taken out before they compare.
    """
    per_token = gates.double().square() / predicted[:, None]  # [N, groups]
    clipped = torch.minimum(per_token, per_token.topk(_at_cap(len(gates)), dim=0).values[-1])
    return (clipped * predicted[:, None]).sum(dim=0) / (2 * int(predicted.sum()))


def _at_cap(windows: int) -> int:
    """How many windows end up at the cap, so that none holds a larger part than one of so many.

    Of 128 windows they are 7. At the usual 99.5 % the cap would lie within the largest two.
    """
    return min(windows, max(2, math.ceil(CLIPPED * windows)))


class OutputCurvature(OutputSquares):
    """Σ_t δ_t² / predicted tokens for every output `[O]`, δ_t = ∂(Σ nll)/∂output of token t."""

    gradient_at: GradientPlace | None = "output"

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Square every token's gradient of its window's summed loss."""
        del inputs
        deltas = widened(delta) * (batch.predicted / batch.scale)
        self._squares.add(site, deltas.square().sum(dim=(0, 1), dtype=torch.float64))

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """The mean over predicted tokens."""
        return {"output_curvature": self._squares.divided(counts, lambda text: text.predicted)}
