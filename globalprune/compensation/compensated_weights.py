"""Compensated weights in a run folder, from which an interrupted run resumes.

The final norm's weight lies beside the sublayers' weights. It takes little time to compute, so a
resumed run computes it again.
"""

from typing import Final

import torch

from globalprune.artifacts.results.compensation import CompensatedModule, CompensatedPart
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.sublayer_weights import CompensatedSublayer, SublayerWeights
from globalprune.statistics.interface import SublayerKey, sublayer_name

_FINAL_NORM: Final = "final-norm"
_OUTPUT: Final[CompensatedPart] = "output"
_GATE: Final[CompensatedPart] = "gate"
_UP: Final[CompensatedPart] = "up"
_FUSED: Final[CompensatedPart] = "gate_up"
_WEIGHT: Final = "weight"


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
