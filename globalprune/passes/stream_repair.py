"""Repairs what a cut leaves, without training: the output projections of every half, front to back.

For o_proj and then down_proj of one layer after the other, least squares finds the weights of what
stays such that the cut model's residual stream comes back to the model's own. The inputs are those
of the cut model, so what earlier halves got wrong is mended too. Nothing is added to the
architecture, and only one half's equations are in memory.

Sources: least squares from Gram matrices, GRAIL, arXiv:2602.23795; one layer after the other,
SlimGPT, arXiv:2412.18110, and OSSCAR, arXiv:2403.12983. Aiming at the whole stream, with the drift
of earlier halves, is ours.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.compensation_record import ModuleRepair
from globalprune.artifacts.plan_effect import PlanEffect
from globalprune.compensation.normal_equations import NormalEquations
from globalprune.compensation.ridge import Repair, repair
from globalprune.errors import NonFiniteError
from globalprune.passes.halves import RunningHalf
from globalprune.passes.interface import Half
from globalprune.passes.streams import StreamBatch
from globalprune.progress import Progress

HELD_OUT_EVERY: Final = 16  # one window of so many judges; the others are fitted to
Stored = Callable[[RunningHalf], tuple[str, torch.Tensor]]


class Solved(Protocol):
    """Where solved weights `[out, kept inputs]` are kept, half by half."""

    def find(self, half: Half) -> tuple[ModuleRepair, torch.Tensor] | None:
        """What was kept of a half, if it was."""
        ...

    def keep(self, module: ModuleRepair, weight: torch.Tensor) -> None:
        """Keep a half's weights, with what is known of them."""
        ...


@torch.no_grad()
def repair_streams(
    halves: Sequence[RunningHalf],
    effect: PlanEffect,
    batches: Sequence[StreamBatch],
    solved: Solved,
    stored: Stored,
    progress: Progress,
) -> list[ModuleRepair]:
    """Solve every half that the plan leaves something of, and keep the weights in `solved`.

    `stored` gives a half's output weight by name and as the checkpoint has it: what can't be
    bettered stays those bits, and the stream goes on with the weights as they will be saved. What
    `solved` has already is walked through.
    """
    found = []
    for half in progress(halves, total=len(halves), label="compensating", unit="halves"):
        layer, group_type = half.place
        module = _through(half, effect.layers[layer].of(group_type), batches, solved, stored)
        if module is not None:
            found.append(module)
    return found


def _through(
    half: RunningHalf,
    kept: Sequence[int],
    batches: Sequence[StreamBatch],
    solved: Solved,
    stored: Stored,
) -> ModuleRepair | None:
    """Take both streams through one half; None where there was nothing to solve."""
    output = half.output
    whole = output is None or len(kept) * half.width == output.in_features
    if whole and all(batch.alike for batch in batches):
        for batch in batches:
            batch.dense = batch.pruned = half.through(batch.dense, batch.calls)
        return None
    for batch in batches:
        batch.dense = half.through(batch.dense, batch.calls)
    if output is None or not kept:
        _leave_remnant(half, batches)
        return None
    columns = columns_of(kept, half.width).to(half.device)
    known = solved.find(half.place)
    if known is None:
        name, stands = stored(half)
        prior = stands.to(half.device)[:, columns].T
        found = _solve(half, output, columns, prior, batches)
        known = _described(half, name, found), found.weights.T
        solved.keep(*known)
    module, weight = known
    weight = weight.to(output.weight)
    for batch in batches:
        pruned = batch.pruned.to(half.device)
        inputs = half.inputs(pruned, batch.calls)[..., columns]
        batch.pruned = (pruned + functional.linear(inputs, weight, output.bias)).cpu()
    return module


def columns_of(groups: Sequence[int], width: int) -> torch.Tensor:
    """The columns of an output projection that these groups own, `[groups · width]`."""
    firsts = torch.tensor(groups)[:, None] * width
    return (firsts + torch.arange(width)).flatten()


def _leave_remnant(half: RunningHalf, batches: Sequence[StreamBatch]) -> None:
    """Let an emptied half add what is left of it: the bias of its output, if it has one."""
    for batch in batches:
        if half.output is None:
            batch.pruned = half.through(batch.pruned, batch.calls)
        elif half.output.bias is not None:
            batch.pruned = batch.pruned + half.output.bias.cpu()


def _solve(
    half: RunningHalf,
    output: nn.Linear,
    columns: torch.Tensor,
    prior: torch.Tensor,
    batches: Sequence[StreamBatch],
) -> Repair:
    """Find the weights `[kept inputs, out]` that bring the cut model's stream back."""
    shape = (len(columns), output.out_features, half.device)
    equations = {held_out: NormalEquations(*shape) for held_out in (False, True)}
    for batch in batches:
        pruned = batch.pruned.to(half.device)
        inputs = half.inputs(pruned, batch.calls)[..., columns]
        target = batch.dense.to(half.device) - pruned
        if output.bias is not None:
            target = target - output.bias
        for held_out, sums in equations.items():
            sums.add(
                batch.tokens(inputs, held_out=held_out), batch.tokens(target, held_out=held_out)
            )
    _refuse_non_finite(half, equations.values())
    return repair(equations[False], equations[True], prior)


def _refuse_non_finite(half: RunningHalf, equations: Iterable[NormalEquations]) -> None:
    """Raise `NonFiniteError` for sums that nothing can be solved from."""
    total = sum(float(sums.gram.diagonal().sum()) + sums.energy for sums in equations)
    if not math.isfinite(total):
        layer, group_type = half.place
        raise NonFiniteError(
            f"compensation: the stream through the {group_type} of layer {layer} is not finite; "
            "try --dtype float32 (or bfloat16), and check the model's weights."
        )


def _described(half: RunningHalf, name: str, found: Repair) -> ModuleRepair:
    """What the record says of a solution."""
    layer, group_type = half.place
    return ModuleRepair(
        layer_idx=layer,
        group_type=group_type,
        tensor=name,
        kept_inputs=len(found.weights),
        strength=found.strength,
        error_before=found.error_before,
        error_after=found.error_after,
    )
