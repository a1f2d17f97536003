"""Makes a loaded model what a plan leaves of it, so that what stands is measured as it stands then.

The weights of what is gone become zeros in the output projections, so indices stay those of the
original; with compensation, the others become what applying the plan would solve, gate and up of
MLPs too, and the final norm what it would refit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from globalprune.analysis.request import Subject
from globalprune.artifacts.analyses.analysis import GivenPlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_groups
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.structure import RemovedGroups
from globalprune.compensation.compensate import SublayerWeights, repair_streams
from globalprune.compensation.compensated_weights import CompensatedWeights
from globalprune.compensation.final_norm import refit_final_norm
from globalprune.compensation.split import streams_to_repair
from globalprune.progress import Progress
from globalprune.statistics.hooks import frozen
from globalprune.statistics.interface import SublayerKey
from globalprune.sublayers.residual_stream import (
    StreamBatch,
    check_composition,
    layers_of,
    sublayers_of,
)
from globalprune.sublayers.sublayer import Sublayer, gate_and_up
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Given:
    """A plan that was decided before, and what is known of it."""

    effect: PlanEffect
    groups: RemovedGroups
    record: GivenPlan

    def standing(self, sublayer: SublayerKey, values: torch.Tensor) -> torch.Tensor:
        """One number a group `[groups]`, zero where the group is gone."""
        layer, group_type = sublayer
        kept = list(self.effect.layers[layer].of(group_type))
        zeros = torch.zeros_like(values)
        zeros[kept] = values[kept]
        return zeros


def read_given(path: Path, subject: Subject, gate_steps: int | None) -> Given:
    """Read the plan, to be compensated with so many steps for gate and up, or with None not at all.

    Raise `PlanInvalid` or `PlanStale` where it isn't one of this structure.
    """
    plan = read_plan(path, subject.structure)
    effect = effect_of(plan, subject.structure)
    record = GivenPlan(
        plan=plan.decisions_digest(),
        ratio=effect.ratio,
        compensated=gate_steps is not None,
        gate_steps=gate_steps or 0,
    )
    return Given(effect, removed_groups(plan, subject.structure), record)


@torch.no_grad()
def take_away(
    loaded: Any,
    subject: Subject,
    given: Given,
    windows: TokenWindows,
    solved: CompensatedWeights,
    *,
    batch_size: int,
    progress: Progress,
) -> None:
    """Change the loaded model where compensation does, and take out what is gone.

    What compensation solves goes through `solved`, and is not solved again where it lies there.
    """
    sublayers = sublayers_of(loaded, subject.adapter, subject.structure)
    if given.record.compensated:
        with frozen(loaded):
            layers = layers_of(loaded, subject.adapter, subject.structure)
            check_composition(loaded, layers, sublayers, windows.rows[0][None].to(loaded.device))
            batches = streams_to_repair(loaded, layers, windows, batch_size=batch_size)
            stored, steps = loaded.get_parameter, given.record.gate_steps
            repair_streams(sublayers, given.effect, batches, solved, stored, steps, progress)
            _refit(loaded, subject, batches, windows)
    for sublayer in sublayers:
        layer, group_type = sublayer.place
        known = solved.find(sublayer.place)
        weights = None if known is None else known[1]
        _keep_only(sublayer, tuple(given.effect.layers[layer].of(group_type)), weights)


def _refit(
    loaded: Any, subject: Subject, batches: Sequence[StreamBatch], windows: TokenWindows
) -> None:
    """Scale the final norm's weight where that helps."""
    norm = loaded.get_submodule(subject.adapter.final_norm)
    found = refit_final_norm(loaded, norm, batches, windows.rows[0])
    if found is not None and found.scales is not None:
        scales, offset = found.scales.to(norm.weight.device), subject.adapter.final_norm_offset
        norm.weight.add_(offset).mul_(scales).sub_(offset)


def _keep_only(sublayer: Sublayer, kept: Sequence[int], found: SublayerWeights | None) -> None:
    """Write what stands into the output projection, zeros everywhere else."""
    sublayer.silence_experts(kept)
    if sublayer.output is None:
        return
    weight = sublayer.output.weight
    columns = sublayer.columns(kept).to(weight.device)
    standing = weight[:, columns] if found is None else found.output.to(weight)
    weight.zero_()
    weight[:, columns] = standing
    if sublayer.gating is not None and found is not None and found.gating is not None:
        stored = gate_and_up([linear.weight for linear in sublayer.gating.linears])
        for block, rows in zip(stored, found.gating, strict=True):
            block[columns] = rows.to(weight)
