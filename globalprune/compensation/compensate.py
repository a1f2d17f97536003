"""Compensation from front to back: each cut sublayer is solved on the stream that reaches it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.results.compensation import ModuleRepair
from globalprune.compensation.gauss_newton import refit_gates
from globalprune.compensation.ridge import NormalEquations, Repair, repair
from globalprune.errors import NonFiniteError
from globalprune.progress import Progress
from globalprune.statistics.interface import Half, widened
from globalprune.sublayers.residual_stream import StreamBatch
from globalprune.sublayers.sublayer import Gating, LayerCalls, RunningHalf, gate_and_up


@dataclass(frozen=True)
class HalfWeights:
    """Weights of the kept inputs alone; without `gating`, the way in is the model's own."""

    output: torch.Tensor  # [O, n]
    gating: tuple[torch.Tensor, torch.Tensor] | None = None  # gate and up, each [n, D]

    def inputs(
        self, half: RunningHalf, stream: torch.Tensor, calls: LayerCalls, columns: torch.Tensor
    ) -> torch.Tensor:
        """What enters the output projection `[B, T, n]`, `columns [n]` being those it keeps."""
        if self.gating is None or half.gating is None:
            return half.inputs(stream, calls)[..., columns]
        gate, up = (rows.to(half.gating.dtype) for rows in self.gating)
        return half.gating.rows(columns, gate, up).outputs(half.norm(stream))


_WORTH: Final = 5e-3  # of the error: a step of gate and up that brings less is the last one
_Entering = Callable[[torch.Tensor, StreamBatch], torch.Tensor]  # of a stream [B, T, D]: [B, T, n]


@dataclass(frozen=True)
class HalfRepair:
    """Weights in the dtype of what stood there, and errors on held-out tokens as parts of a whole.

    `strength` is that of the ridge, None where the output projection stayed.
    """

    weights: HalfWeights
    strength: float | None
    gate_steps: int  # that gate and up took
    error_before: float
    error_after: float


def repair_half(
    half: RunningHalf,
    output: nn.Linear,
    columns: torch.Tensor,
    stands: HalfWeights,
    batches: Sequence[StreamBatch],
    gate_steps: int,
) -> HalfRepair:
    """Bring the cut model's stream back to the model's own, behind this half.

    `stands` is what the plan leaves as the checkpoint has it, with a `gating` only if that may
    change. Raises `NonFiniteError` for streams that nothing can be solved from.
    """

    def entering(stream: torch.Tensor, batch: StreamBatch) -> torch.Tensor:
        return half.inputs(stream, batch.calls)[..., columns]

    prior = stands.output.to(half.device).T
    solved = _solve(half, output, prior, batches, entering)
    found = HalfRepair(
        replace(stands, output=solved.weights.T),
        solved.strength,
        0,
        solved.error_before,
        solved.error_after,
    )
    if half.gating is None or stands.gating is None:
        return found
    for _ in range(gate_steps):
        further = _step(half, half.gating, output, columns, prior, found, batches)
        if further is None:
            break
        worth = further.error_after < (1 - _WORTH) * found.error_after
        found = further
        if not worth:
            break
    return found


def _step(
    half: RunningHalf,
    gating: Gating,
    output: nn.Linear,
    columns: torch.Tensor,
    prior: torch.Tensor,
    found: HalfRepair,
    batches: Sequence[StreamBatch],
) -> HalfRepair | None:
    """Move gate and up once, and solve the output behind them; None where that helps nothing."""
    if found.weights.gating is None:
        return None
    stands = found.weights.gating
    moved = refit_gates(half, gating.rows(columns, *stands), found.weights.output, batches)
    if moved is None:
        return None
    rows, error = moved

    def entering(stream: torch.Tensor, _batch: StreamBatch) -> torch.Tensor:
        return rows.outputs(widened(half.norm(stream)))

    solved = _solve(half, output, prior, batches, entering)
    better = solved.error_after < error
    return HalfRepair(
        HalfWeights(
            solved.weights.T if better else found.weights.output,
            (rows.gate.to(stands[0].dtype), rows.up.to(stands[1].dtype)),
        ),
        solved.strength if better else found.strength,
        found.gate_steps + 1,
        found.error_before,
        min(solved.error_after, error),
    )


def _solve(
    half: RunningHalf,
    output: nn.Linear,
    prior: torch.Tensor,
    batches: Sequence[StreamBatch],
    entering: _Entering,
) -> Repair:
    """Find output weights `[n, O]` for what enters the projection."""
    shape = (len(prior), output.out_features, half.device)
    equations = {held_out: NormalEquations(*shape) for held_out in (False, True)}
    for batch in batches:
        inputs = entering(batch.pruned.to(half.device), batch)
        asked = batch.asked(half)
        for held_out, sums in equations.items():
            sums.add(
                batch.tokens(inputs, held_out=held_out), batch.tokens(asked, held_out=held_out)
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
