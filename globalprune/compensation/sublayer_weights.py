"""The compensated weights of one sublayer, and the run folder that keeps those of all.

The output projection is solved by ridge regression for the update that makes both streams equal.
Gate and up of an MLP then take Gauss-Newton steps, each followed by another solution of the output.
An interrupted run resumes from the weights in its run folder.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from globalprune.artifacts.results.cut import CompensatedModule, CompensatedPart
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.gauss_newton import gauss_newton_step
from globalprune.compensation.ridge import NormalEquations, RidgeSolution, solve_ridge
from globalprune.errors import NonFiniteError
from globalprune.statistics.interface import SublayerKey, sublayer_name, widened
from globalprune.sublayers.residual_stream import StreamBatch
from globalprune.sublayers.sublayer import Gating, LayerCalls, Sublayer

_WORTHWHILE: Final = 5e-3  # of the error: a step of gate and up that lowers it less is the last
_Inputs = Callable[[torch.Tensor, StreamBatch], torch.Tensor]  # of a stream [B, T, D]: [B, T, n]
_FINAL_NORM: Final = "final-norm"
_OUTPUT: Final[CompensatedPart] = "output"
_GATE: Final[CompensatedPart] = "gate"
_UP: Final[CompensatedPart] = "up"
_FUSED: Final[CompensatedPart] = "gate_up"
_WEIGHT: Final = "weight"


@dataclass(frozen=True)
class SublayerWeights:
    """Weights of the kept inputs alone; without `gating`, gate and up are the model's own."""

    output: torch.Tensor  # [O, n]
    gating: tuple[torch.Tensor, torch.Tensor] | None = None  # gate and up, each [n, D]

    def inputs(
        self, sublayer: Sublayer, stream: torch.Tensor, calls: LayerCalls, columns: torch.Tensor
    ) -> torch.Tensor:
        """The inputs `[B, T, n]` of the output projection, of which it keeps `columns [n]`."""
        if self.gating is None or sublayer.gating is None:
            return sublayer.inputs(stream, calls)[..., columns]
        gate, up = (rows.to(sublayer.gating.dtype) for rows in self.gating)
        return sublayer.gating.rows(columns, gate, up).outputs(sublayer.norm(stream))


@dataclass(frozen=True)
class CompensatedSublayer:
    """Weights in the dtype of the checkpoint, and their record."""

    weights: SublayerWeights
    record: CompensatedModule


class CompensatedWeights:
    """The compensated weights of one run; those of another run or text are never loaded."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def save(self, compensated: CompensatedSublayer) -> None:
        """Write a sublayer's weights, in their own dtype, and their record."""
        weights, record = compensated.weights, compensated.record
        tensors: dict[str, torch.Tensor] = {_OUTPUT: weights.output}
        if weights.gating is not None:
            tensors[_GATE], tensors[_UP] = weights.gating
        name = sublayer_name((record.layer_idx, record.group_type))
        self._run.save_tensors(name, tensors, record)

    def load(self, key: SublayerKey) -> CompensatedSublayer | None:
        """Read a sublayer's weights and their record; None if there are none."""
        name = sublayer_name(key)
        record = self._run.load_record_of(name, CompensatedModule)
        tensors = self._run.load_tensors(name)
        if record is None or tensors is None:
            return None
        gating = (tensors[_GATE], tensors[_UP]) if _GATE in tensors else None
        return CompensatedSublayer(SublayerWeights(tensors[_OUTPUT], gating), record)

    def load_part(self, key: SublayerKey, part: CompensatedPart) -> torch.Tensor:
        """Read one weight of a sublayer and no other; raise `ValueError` if it was never saved."""
        names = (_GATE, _UP) if part == _FUSED else (part,)
        tensors = self._run.load_tensors(sublayer_name(key), names)
        if tensors is None:
            raise ValueError(f"{key} was never compensated")
        return torch.cat([tensors[name] for name in names])

    def save_final_norm(self, weight: torch.Tensor) -> None:
        """Write the weight `[D]` of the norm behind the last layer, in its own dtype."""
        self._run.save_tensors(_FINAL_NORM, {_WEIGHT: weight})

    def load_final_norm(self) -> torch.Tensor:
        """Read the final norm's weight; raise `ValueError` if it was never saved."""
        tensors = self._run.load_tensors(_FINAL_NORM)
        if tensors is None:
            raise ValueError("the final norm was never compensated")
        weight: torch.Tensor = tensors[_WEIGHT]
        return weight


def compensate_sublayer(
    sublayer: Sublayer,
    output: nn.Linear,
    columns: torch.Tensor,
    stored: SublayerWeights,
    batches: Sequence[StreamBatch],
    gate_steps: int,
) -> CompensatedSublayer:
    """Compensate one sublayer, so that behind it the pruned stream comes near the dense one.

    `columns [n]` are the kept inputs of `output`. `stored` are the kept weights of the checkpoint,
    with `gating` only if that may change, in up to `gate_steps` steps. Raises `NonFiniteError` for
    streams that are not finite.
    """

    def inputs(stream: torch.Tensor, batch: StreamBatch) -> torch.Tensor:
        return sublayer.inputs(stream, batch.calls)[..., columns]

    prior = stored.output.to(sublayer.device).T
    solution = _solve(sublayer, output, prior, batches, inputs)
    best = CompensatedSublayer(
        SublayerWeights(solution.weights.T, stored.gating), _record(sublayer, solution)
    )
    gating = sublayer.gating
    if gating is None or stored.gating is None:
        return best
    for _ in range(gate_steps):
        stepped = _step(sublayer, gating, output, columns, prior, best, batches)
        if stepped is None:
            break
        limit = (1 - _WORTHWHILE) * best.record.error_after
        best = stepped
        if not best.record.error_after < limit:
            break
    return best


def _step(
    sublayer: Sublayer,
    gating: Gating,
    output: nn.Linear,
    columns: torch.Tensor,
    prior: torch.Tensor,
    best: CompensatedSublayer,
    batches: Sequence[StreamBatch],
) -> CompensatedSublayer | None:
    """Move gate and up once and solve the output again; None where that lowers no error."""
    weights, record = best.weights, best.record
    if weights.gating is None:
        return None
    moved = gauss_newton_step(
        sublayer, gating.rows(columns, *weights.gating), weights.output, batches
    )
    if moved is None:
        return None
    rows, error = moved

    def inputs(stream: torch.Tensor, _batch: StreamBatch) -> torch.Tensor:
        return rows.outputs(widened(sublayer.norm(stream)))

    solution = _solve(sublayer, output, prior, batches, inputs)
    better = solution.error_after < error
    gate, up = weights.gating
    return CompensatedSublayer(
        SublayerWeights(
            solution.weights.T if better else weights.output,
            (rows.gate.to(gate.dtype), rows.up.to(up.dtype)),
        ),
        record.model_copy(
            update={
                "strength": solution.strength if better else record.strength,
                "gates": gating.names,
                "gate_steps": record.gate_steps + 1,
                "error_after": min(solution.error_after, error),
            }
        ),
    )


def _solve(
    sublayer: Sublayer,
    output: nn.Linear,
    prior: torch.Tensor,
    batches: Sequence[StreamBatch],
    inputs_of: _Inputs,
) -> RidgeSolution:
    """Solve for output weights `[n, O]` with these inputs of the output projection."""
    shape = (len(prior), output.out_features, sublayer.device)
    equations = {held_out: NormalEquations(*shape) for held_out in (False, True)}
    for batch in batches:
        inputs = inputs_of(batch.pruned.to(sublayer.device), batch)
        target = batch.target_output(sublayer)
        for held_out, sums in equations.items():
            sums.add(
                batch.tokens(inputs, held_out=held_out), batch.tokens(target, held_out=held_out)
            )
    _refuse_non_finite(sublayer, equations.values())
    return solve_ridge(equations[False], equations[True], prior)


def _refuse_non_finite(sublayer: Sublayer, equations: Iterable[NormalEquations]) -> None:
    """Raise `NonFiniteError` for sums that are not finite."""
    total = sum(float(sums.gram.diagonal().sum()) + sums.energy for sums in equations)
    if not math.isfinite(total):
        layer, group_type = sublayer.key
        raise NonFiniteError(
            f"compensation: the stream through the {group_type} of layer {layer} is not finite; "
            "try --dtype float32 (or bfloat16), and check the model's weights."
        )


def _record(sublayer: Sublayer, solution: RidgeSolution) -> CompensatedModule:
    """The record of a sublayer whose output projection alone is compensated."""
    layer, group_type = sublayer.key
    return CompensatedModule(
        layer_idx=layer,
        group_type=group_type,
        tensor=sublayer.output_name,
        kept_inputs=len(solution.weights),
        strength=solution.strength,
        error_before=solution.error_before,
        error_after=solution.error_after,
    )
