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
from globalprune.statistics.interface import SublayerKey, widened
from globalprune.sublayers.residual_stream import StreamBatch
from globalprune.sublayers.sublayer import Gating, LayerCalls, Sublayer, gate_and_up


@dataclass(frozen=True)
class SublayerWeights:
    """Weights of the kept inputs alone; without `gating`, the way in is the model's own."""

    output: torch.Tensor  # [O, n]
    gating: tuple[torch.Tensor, torch.Tensor] | None = None  # gate and up, each [n, D]

    def inputs(
        self, sublayer: Sublayer, stream: torch.Tensor, calls: LayerCalls, columns: torch.Tensor
    ) -> torch.Tensor:
        """What enters the output projection `[B, T, n]`, `columns [n]` being those it keeps."""
        if self.gating is None or sublayer.gating is None:
            return sublayer.inputs(stream, calls)[..., columns]
        gate, up = (rows.to(sublayer.gating.dtype) for rows in self.gating)
        return sublayer.gating.rows(columns, gate, up).outputs(sublayer.norm(stream))


_WORTH: Final = 5e-3  # of the error: a step of gate and up that brings less is the last one
_Entering = Callable[[torch.Tensor, StreamBatch], torch.Tensor]  # of a stream [B, T, D]: [B, T, n]


@dataclass(frozen=True)
class CompensatedSublayer:
    """Weights in the dtype of what stood there, and errors on held-out tokens as parts of a whole.

    `strength` is that of the ridge, None where the output projection stayed.
    """

    weights: SublayerWeights
    strength: float | None
    gate_steps: int  # that gate and up took
    error_before: float
    error_after: float


def compensate_sublayer(
    sublayer: Sublayer,
    output: nn.Linear,
    columns: torch.Tensor,
    stands: SublayerWeights,
    batches: Sequence[StreamBatch],
    gate_steps: int,
) -> CompensatedSublayer:
    """Bring the cut model's stream back to the model's own, behind this sublayer.

    `stands` is what the plan leaves as the checkpoint has it, with a `gating` only if that may
    change. Raises `NonFiniteError` for streams that nothing can be solved from.
    """

    def entering(stream: torch.Tensor, batch: StreamBatch) -> torch.Tensor:
        return sublayer.inputs(stream, batch.calls)[..., columns]

    prior = stands.output.to(sublayer.device).T
    solved = _solve(sublayer, output, prior, batches, entering)
    found = CompensatedSublayer(
        replace(stands, output=solved.weights.T),
        solved.strength,
        0,
        solved.error_before,
        solved.error_after,
    )
    if sublayer.gating is None or stands.gating is None:
        return found
    for _ in range(gate_steps):
        further = _step(sublayer, sublayer.gating, output, columns, prior, found, batches)
        if further is None:
            break
        worth = further.error_after < (1 - _WORTH) * found.error_after
        found = further
        if not worth:
            break
    return found


def _step(
    sublayer: Sublayer,
    gating: Gating,
    output: nn.Linear,
    columns: torch.Tensor,
    prior: torch.Tensor,
    found: CompensatedSublayer,
    batches: Sequence[StreamBatch],
) -> CompensatedSublayer | None:
    """Move gate and up once, and solve the output behind them; None where that helps nothing."""
    if found.weights.gating is None:
        return None
    stands = found.weights.gating
    moved = refit_gates(sublayer, gating.rows(columns, *stands), found.weights.output, batches)
    if moved is None:
        return None
    rows, error = moved

    def entering(stream: torch.Tensor, _batch: StreamBatch) -> torch.Tensor:
        return rows.outputs(widened(sublayer.norm(stream)))

    solved = _solve(sublayer, output, prior, batches, entering)
    better = solved.error_after < error
    return CompensatedSublayer(
        SublayerWeights(
            solved.weights.T if better else found.weights.output,
            (rows.gate.to(stands[0].dtype), rows.up.to(stands[1].dtype)),
        ),
        solved.strength if better else found.strength,
        found.gate_steps + 1,
        found.error_before,
        min(solved.error_after, error),
    )


def _solve(
    sublayer: Sublayer,
    output: nn.Linear,
    prior: torch.Tensor,
    batches: Sequence[StreamBatch],
    entering: _Entering,
) -> Repair:
    """Find output weights `[n, O]` for what enters the projection."""
    shape = (len(prior), output.out_features, sublayer.device)
    equations = {held_out: NormalEquations(*shape) for held_out in (False, True)}
    for batch in batches:
        inputs = entering(batch.pruned.to(sublayer.device), batch)
        asked = batch.asked(sublayer)
        for held_out, sums in equations.items():
            sums.add(
                batch.tokens(inputs, held_out=held_out), batch.tokens(asked, held_out=held_out)
            )
    _refuse_non_finite(sublayer, equations.values())
    return repair(equations[False], equations[True], prior)


def _refuse_non_finite(sublayer: Sublayer, equations: Iterable[NormalEquations]) -> None:
    """Raise `NonFiniteError` for sums that nothing can be solved from."""
    total = sum(float(sums.gram.diagonal().sum()) + sums.energy for sums in equations)
    if not math.isfinite(total):
        layer, group_type = sublayer.place
        raise NonFiniteError(
            f"compensation: the stream through the {group_type} of layer {layer} is not finite; "
            "try --dtype float32 (or bfloat16), and check the model's weights."
        )


Stored = Callable[[str], torch.Tensor]


class Solved(Protocol):
    """Where solved weights are kept, sublayer by sublayer."""

    def find(self, sublayer: SublayerKey) -> tuple[ModuleRepair, SublayerWeights] | None:
        """What was kept of a sublayer, if it was."""
        ...

    def keep(self, module: ModuleRepair, weights: SublayerWeights) -> None:
        """Keep a sublayer's weights, with what is known of them."""
        ...


@torch.no_grad()
def repair_streams(
    sublayers: Sequence[Sublayer],
    effect: PlanEffect,
    batches: Sequence[StreamBatch],
    solved: Solved,
    stored: Stored,
    gate_steps: int,
    progress: Progress,
) -> list[ModuleRepair]:
    """Solve every sublayer that the plan leaves something of, and keep the weights in `solved`.

    `stored` gives a weight by name as the checkpoint has it: what can't be bettered stays those
    bits, and the stream goes on with the weights as they will be saved. Gate and up take up to
    `gate_steps`. What `solved` has already is walked through.
    """
    walk = _Walk(solved, stored, gate_steps)
    found = []
    for sublayer in progress(
        sublayers, total=len(sublayers), label="compensating", unit="sublayers"
    ):
        layer, group_type = sublayer.place
        module = walk.through(sublayer, tuple(effect.layers[layer].of(group_type)), batches)
        if module is not None:
            found.append(module)
    return found


class _Walk:
    """What is the same for all sublayers."""

    def __init__(self, solved: Solved, stored: Stored, gate_steps: int) -> None:
        self._solved = solved
        self._stored = stored
        self._gate_steps = gate_steps

    def through(
        self, sublayer: Sublayer, kept: Sequence[int], batches: Sequence[StreamBatch]
    ) -> ModuleRepair | None:
        """Take both streams through one sublayer; None where there was nothing to solve."""
        output = sublayer.output
        whole = len(kept) == sublayer.groups
        if whole and all(batch.alike for batch in batches):
            for batch in batches:
                batch.dense = batch.pruned = sublayer.through(batch.dense, batch.calls)
            return None
        for batch in batches:
            batch.advance(sublayer)
        if sublayer.experts:
            _leave_experts(sublayer, kept, batches)
            return None
        if output is None or not kept:
            _leave_remnant(sublayer, batches)
            return None
        columns = sublayer.columns(kept).to(sublayer.device)
        known = self._solved.find(sublayer.place)
        if known is None:
            stands = self._standing(sublayer, columns)
            found = compensate_sublayer(
                sublayer, output, columns, stands, batches, self._gate_steps
            )
            known = _described(sublayer, found), found.weights
            self._solved.keep(*known)
        module, weights = known
        weight = weights.output.to(output.weight)
        for batch in batches:
            pruned = batch.pruned.to(sublayer.device)
            inputs = weights.inputs(sublayer, pruned, batch.calls, columns)
            made = functional.linear(inputs, weight, output.bias)
            batch.pruned = (pruned + sublayer.joined(made)).cpu()
        return module

    def _standing(self, sublayer: Sublayer, columns: torch.Tensor) -> SublayerWeights:
        """What the plan leaves of the checkpoint's weights; of gate and up if they may change."""
        output = self._stored(sublayer.output_name).to(sublayer.device)[:, columns]
        if sublayer.gating is None or not self._gate_steps:
            return SublayerWeights(output)
        gate, up = gate_and_up([self._stored(name) for name in sublayer.gating.names])
        return SublayerWeights(
            output, (gate.to(sublayer.device)[columns], up.to(sublayer.device)[columns])
        )


def _leave_experts(sublayer: Sublayer, kept: Sequence[int], batches: Sequence[StreamBatch]) -> None:
    """Let a mixture add what is left of it; nothing of experts is solved."""
    with sublayer.only(kept):
        for batch in batches:
            batch.pruned = sublayer.through(batch.pruned, batch.calls)


def _leave_remnant(sublayer: Sublayer, batches: Sequence[StreamBatch]) -> None:
    """Let an emptied sublayer add what is left of it: the bias of its output, if it has one."""
    for batch in batches:
        if sublayer.output is None:
            batch.pruned = sublayer.through(batch.pruned, batch.calls)
        elif sublayer.output.bias is not None:
            batch.pruned = batch.pruned + sublayer.joined(sublayer.output.bias[None, None]).cpu()


def _described(sublayer: Sublayer, found: CompensatedSublayer) -> ModuleRepair:
    """What the record says of a solution."""
    layer, group_type = sublayer.place
    return ModuleRepair(
        layer_idx=layer,
        group_type=group_type,
        tensor=sublayer.output_name,
        kept_inputs=found.weights.output.shape[1],
        strength=found.strength,
        gates=sublayer.gating.names if sublayer.gating is not None and found.gate_steps else (),
        gate_steps=found.gate_steps,
        error_before=found.error_before,
        error_after=found.error_after,
    )
