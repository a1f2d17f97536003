"""A prior plan (--given): a loaded model becomes what the plan leaves of it, and is measured so.

In the output projections the weights of removed groups become zeros, so indices stay those of the
original. With compensation the other weights become those that applying the plan would write: gate
and up of MLPs and the final norm, too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from globalprune.analysis.request import Subject
from globalprune.artifacts.analyses.analysis import GivenPlan
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_groups
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.structure import RemovedGroups
from globalprune.compensation.compensate import compensate
from globalprune.compensation.sublayer_weights import CompensatedWeights, SublayerWeights
from globalprune.progress import Progress
from globalprune.statistics.interface import SublayerKey
from globalprune.sublayers.residual_stream import sublayer_model
from globalprune.sublayers.sublayer import Sublayer, gate_and_up
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class PriorPlan:
    """A plan that is decided before the analysis, and its record."""

    effect: PlanEffect
    groups: RemovedGroups
    record: GivenPlan

    def kept_only(self, key: SublayerKey, values: torch.Tensor) -> torch.Tensor:
        """A sublayer's values `[groups]`, with zeros for the removed groups."""
        layer, group_type = key
        kept = self.effect.layers[layer].of(group_type).to_array()
        zeros = torch.zeros_like(values)
        zeros[kept] = values[kept]
        return zeros


def read_prior_plan(path: Path, subject: Subject, gate_steps: int | None) -> PriorPlan:
    """Read the plan; it is compensated in `gate_steps` steps for gate and up, with None not at all.

    Raise `PlanInvalid` or `PlanStale` where it is not a plan for this structure.
    """
    plan = read_plan(path, subject.structure)
    effect = effect_of(plan, subject.structure)
    record = GivenPlan(
        plan=plan.decisions_digest(),
        ratio=effect.ratio,
        compensated=gate_steps is not None,
        gate_steps=gate_steps or 0,
    )
    return PriorPlan(effect, removed_groups(plan, subject.structure), record)


@torch.no_grad()
def apply_prior_plan(
    loaded: Any,
    subject: Subject,
    prior: PriorPlan,
    windows: TokenWindows,
    weights: CompensatedWeights,
    *,
    batch_size: int,
    progress: Progress,
) -> None:
    """Compensate the loaded model in place if the plan says so, and zero the removed groups.

    Compensated weights go into `weights`; those that lie there are not computed again.
    """
    model = sublayer_model(loaded, subject.adapter, subject.structure)
    if prior.record.compensated:
        outcome = compensate(
            model,
            prior.effect,
            windows,
            weights,
            loaded.get_parameter,
            batch_size=batch_size,
            gate_steps=prior.record.gate_steps,
            progress=progress,
        )
        fit = outcome.logit_scales
        if fit is not None and fit.scales is not None:
            norm, offset = model.final_norm.weight, subject.adapter.final_norm_offset
            norm.add_(offset).mul_(fit.scales.to(norm.device)).sub_(offset)
    for sublayer in model.sublayers:
        layer, group_type = sublayer.key
        compensated = weights.load(sublayer.key)
        kept = prior.effect.layers[layer].of(group_type)
        _keep_only(sublayer, kept, None if compensated is None else compensated.weights)


def _keep_only(sublayer: Sublayer, kept: IndexSet, weights: SublayerWeights | None) -> None:
    """Write the weights of the kept groups, compensated if there are such, and zeros elsewhere."""
    sublayer.zero_other_experts(kept)
    if sublayer.output is None:
        return
    output = sublayer.output.weight
    columns = sublayer.columns(kept).to(output.device)
    remaining = output[:, columns] if weights is None else weights.output.to(output)
    output.zero_()
    output[:, columns] = remaining
    if sublayer.gating is not None and weights is not None and weights.gating is not None:
        stored = gate_and_up([linear.weight for linear in sublayer.gating.linears])
        for block, rows in zip(stored, weights.gating, strict=True):
            block[columns] = rows.to(output)
