"""What stands of a half that was cut: weights of what it keeps, and what they make of a stream."""

from dataclasses import dataclass

import torch

from globalprune.passes.halves.layer_calls import LayerCalls
from globalprune.passes.halves.running_half import RunningHalf


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
