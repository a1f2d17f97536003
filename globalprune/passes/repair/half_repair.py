"""Solves one cut half anew: its output projection, and gate and up in front of it if it has such.

Least squares in closed form for the output, Gauss-Newton steps for gate and up, and the output
again behind each of them. Held-out windows judge every one of these, and what they don't find
better stays as it was.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from globalprune.compensation.normal_equations import NormalEquations
from globalprune.compensation.ridge import Repair, repair
from globalprune.errors import NonFiniteError
from globalprune.passes.halves.gating import Gating
from globalprune.passes.halves.running_half import RunningHalf
from globalprune.passes.halves.streams import StreamBatch
from globalprune.passes.interface import widened
from globalprune.passes.repair.gate_refit import refit_gates
from globalprune.passes.repair.half_weights import HalfWeights

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
