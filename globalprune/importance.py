"""The importances as one table: formula, paper, unit, and the statistics that each one reads.

A new importance is one entry of `IMPORTANCES`, its name in the help of `cli/options.py`, and an
independent formula in the parity tests; CONTRIBUTING.md lists every place, and those of a new
statistic.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.errors import UsageError
from globalprune.statistics.interface import Statistic


@dataclass(frozen=True)
class Importance:
    """What a model loses without a group, estimated from statistics of one pass.

    `in_nats` says that the estimate is a loss, so groups of all layers can be compared; any other
    estimate is normalised first. `counts_on_compensation` says that the estimate holds for a cut
    that is compensated, so the plan has to be applied with compensation.
    """

    name: str
    needs: tuple[Statistic, ...]
    combined_by: Literal["sum", "product"] = "sum"
    normaliser: NormaliserName = "none"  # of the scores, unless the user names another one
    in_nats: bool = True
    counts_on_compensation: bool = False

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """Return the importance of one sublayer's groups, `[groups]`, from their statistics."""
        joined = operator.mul if self.combined_by == "product" else operator.add
        return reduce(joined, [statistics[need] for need in self.needs])


IMPORTANCES: dict[str, Importance] = {
    importance.name: importance
    for importance in (
        # I_u = Σ_{θ∈u} |θ·ḡ|: https://arxiv.org/abs/1906.10771
        Importance("taylor", ("first_order",)),
        # I_u = Σ_{θ∈u} |θ·ḡ| + ½ |θ²·h|: https://arxiv.org/abs/2305.11627
        Importance("taylor_2nd", ("first_order", "curvature")),
        # I_u = ½ · (1/predicted tokens) · Σ_s J_su², J_su = Σ_{t, j∈u} a_tj · ∂(Σ nll_s)/∂a_tj:
        # https://arxiv.org/abs/1801.05787, https://arxiv.org/abs/2204.09656
        Importance("fisher", ("gate_fisher",)),
        # `fisher` with |J_su| / √T_s of every group clipped at its upper 5 % over s:
        # https://doi.org/10.1214/aoms/1177705900
        Importance("fisher_winsorised", ("gate_fisher_winsorised",)),
        # I_u = ½ tr(W_uᵀ G W_u [(A⁻¹)_uu]⁻¹), W and A of the groups left when u goes:
        # https://arxiv.org/abs/2312.17244
        Importance("obs", ("removal_loss",), counts_on_compensation=True),
        # `obs` times measured / predicted nats of the stretch of the order that u lies in
        Importance("obs_measured", ("measured_removal_loss",), counts_on_compensation=True),
        # I_u = A_u · Σ_{θ∈u} |θ|, A_u the root mean square of the group's input to the output
        # projection: https://arxiv.org/abs/2306.11695
        Importance("wanda", ("magnitude", "input_rms"), "product", "mean", in_nats=False),
        # I_u = Σ_{θ∈u} |θ|: https://arxiv.org/abs/1608.08710
        Importance("magnitude", ("magnitude",), normaliser="mean", in_nats=False),
    )
}


def importances_named(names: Sequence[str]) -> tuple[Importance, ...]:
    """Return the importances of these names, each once, in the order of `names`.

    Raises:
        UsageError: a name is unknown, or there is none.
    """
    unknown = [name for name in names if name not in IMPORTANCES]
    if unknown or not names:
        found = f"{', '.join(unknown)} is not known" if unknown else "no method is named"
        raise UsageError(f"--importance: {found}; there are {', '.join(IMPORTANCES)}.")
    return tuple(IMPORTANCES[name] for name in dict.fromkeys(names))
