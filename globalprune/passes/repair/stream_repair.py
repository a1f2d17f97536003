"""Repairs what a cut leaves, without training: every half anew, front to back.

For attention and then the MLP of one layer after the other, weights are found such that the cut
model's residual stream comes back to the model's own. The inputs are those of the cut model, so
what earlier halves got wrong is mended too. Nothing is added to the architecture, and only one
half's equations are in memory.

Sources: least squares from Gram matrices, GRAIL, arXiv:2602.23795; one layer after the other,
SlimGPT, arXiv:2412.18110, and OSSCAR, arXiv:2403.12983. Aiming at the whole stream, with the drift
of earlier halves, is ours.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch.nn import functional

from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.results.compensation import ModuleRepair
from globalprune.passes.halves.gating import gate_and_up
from globalprune.passes.halves.running_half import RunningHalf
from globalprune.passes.halves.streams import StreamBatch
from globalprune.passes.interface import Half
from globalprune.passes.repair.half_repair import HalfRepair, repair_half
from globalprune.passes.repair.half_weights import HalfWeights
from globalprune.progress import Progress

Stored = Callable[[str], torch.Tensor]


class Solved(Protocol):
    """Where solved weights are kept, half by half."""

    def find(self, half: Half) -> tuple[ModuleRepair, HalfWeights] | None:
        """What was kept of a half, if it was."""
        ...

    def keep(self, module: ModuleRepair, weights: HalfWeights) -> None:
        """Keep a half's weights, with what is known of them."""
        ...


@torch.no_grad()
def repair_streams(
    halves: Sequence[RunningHalf],
    effect: PlanEffect,
    batches: Sequence[StreamBatch],
    solved: Solved,
    stored: Stored,
    gate_steps: int,
    progress: Progress,
) -> list[ModuleRepair]:
    """Solve every half that the plan leaves something of, and keep the weights in `solved`.

    `stored` gives a weight by name as the checkpoint has it: what can't be bettered stays those
    bits, and the stream goes on with the weights as they will be saved. Gate and up take up to
    `gate_steps`. What `solved` has already is walked through.
    """
    walk = _Walk(solved, stored, gate_steps)
    found = []
    for half in progress(halves, total=len(halves), label="compensating", unit="halves"):
        layer, group_type = half.place
        module = walk.through(half, effect.layers[layer].of(group_type), batches)
        if module is not None:
            found.append(module)
    return found


class _Walk:
    """What is the same for all halves."""

    def __init__(self, solved: Solved, stored: Stored, gate_steps: int) -> None:
        self._solved = solved
        self._stored = stored
        self._gate_steps = gate_steps

    def through(
        self, half: RunningHalf, kept: Sequence[int], batches: Sequence[StreamBatch]
    ) -> ModuleRepair | None:
        """Take both streams through one half; None where there was nothing to solve."""
        output = half.output
        whole = len(kept) == half.groups
        if whole and all(batch.alike for batch in batches):
            for batch in batches:
                batch.dense = batch.pruned = half.through(batch.dense, batch.calls)
            return None
        for batch in batches:
            batch.advance(half)
        if half.experts:
            _leave_experts(half, kept, batches)
            return None
        if output is None or not kept:
            _leave_remnant(half, batches)
            return None
        columns = half.columns(kept).to(half.device)
        known = self._solved.find(half.place)
        if known is None:
            stands = self._standing(half, columns)
            found = repair_half(half, output, columns, stands, batches, self._gate_steps)
            known = _described(half, found), found.weights
            self._solved.keep(*known)
        module, weights = known
        weight = weights.output.to(output.weight)
        for batch in batches:
            pruned = batch.pruned.to(half.device)
            inputs = weights.inputs(half, pruned, batch.calls, columns)
            made = functional.linear(inputs, weight, output.bias)
            batch.pruned = (pruned + half.joined(made)).cpu()
        return module

    def _standing(self, half: RunningHalf, columns: torch.Tensor) -> HalfWeights:
        """What the plan leaves of the checkpoint's weights; of gate and up if they may change."""
        output = self._stored(half.output_name).to(half.device)[:, columns]
        if half.gating is None or not self._gate_steps:
            return HalfWeights(output)
        gate, up = gate_and_up([self._stored(name) for name in half.gating.names])
        return HalfWeights(output, (gate.to(half.device)[columns], up.to(half.device)[columns]))


def _leave_experts(half: RunningHalf, kept: Sequence[int], batches: Sequence[StreamBatch]) -> None:
    """Let a mixture add what is left of it; nothing of experts is solved."""
    with half.only(kept):
        for batch in batches:
            batch.pruned = half.through(batch.pruned, batch.calls)


def _leave_remnant(half: RunningHalf, batches: Sequence[StreamBatch]) -> None:
    """Let an emptied half add what is left of it: the bias of its output, if it has one."""
    for batch in batches:
        if half.output is None:
            batch.pruned = half.through(batch.pruned, batch.calls)
        elif half.output.bias is not None:
            batch.pruned = batch.pruned + half.joined(half.output.bias[None, None]).cpu()


def _described(half: RunningHalf, found: HalfRepair) -> ModuleRepair:
    """What the record says of a solution."""
    layer, group_type = half.place
    return ModuleRepair(
        layer_idx=layer,
        group_type=group_type,
        tensor=half.output_name,
        kept_inputs=found.weights.output.shape[1],
        strength=found.strength,
        gates=half.gating.names if half.gating is not None and found.gate_steps else (),
        gate_steps=found.gate_steps,
        error_before=found.error_before,
        error_after=found.error_after,
    )
