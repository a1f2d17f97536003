"""The weights that compensation solved, in a run's folder: a stopped run goes on from them.

The final norm's weight lies beside them; it is quickly made again, and so never looked for.
"""

from typing import Final

import torch

from globalprune.artifacts.results.compensation import ModuleRepair, SolvedPart
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.compensate import SublayerWeights
from globalprune.statistics.interface import SublayerKey, sublayer_name

_FINAL_NORM: Final = "final-norm"
_OUTPUT: Final[SolvedPart] = "output"
_GATE: Final[SolvedPart] = "gate"
_UP: Final[SolvedPart] = "up"
_FUSED: Final[SolvedPart] = "gate_up"
_WEIGHT: Final = "weight"


class CompensatedWeights:
    """Solved weights of one run; those that another run left are as good as none."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def keep(self, module: ModuleRepair, weights: SublayerWeights) -> None:
        """Keep weights in their own dtype, with what is known of them."""
        tensors: dict[str, torch.Tensor] = {_OUTPUT: weights.output}
        if weights.gating is not None:
            tensors[_GATE], tensors[_UP] = weights.gating
        sublayer = (module.layer_idx, module.group_type)
        self._run.keep_tensors(sublayer_name(sublayer), tensors, module)

    def find(self, sublayer: SublayerKey) -> tuple[ModuleRepair, SublayerWeights] | None:
        """What was kept of a sublayer, if it was."""
        name = sublayer_name(sublayer)
        module = self._run.find_record_of(name, ModuleRepair)
        tensors = self._run.find_tensors(name)
        if module is None or tensors is None:
            return None
        gating = (tensors[_GATE], tensors[_UP]) if _GATE in tensors else None
        return module, SublayerWeights(tensors[_OUTPUT], gating)

    def weight(self, sublayer: SublayerKey, part: SolvedPart) -> torch.Tensor:
        """One of a sublayer's weights, which must be there; only that is read."""
        names = (_GATE, _UP) if part == _FUSED else (part,)
        tensors = self._run.find_tensors(sublayer_name(sublayer), names)
        if tensors is None:
            raise ValueError(f"{sublayer} was never solved")
        return torch.cat([tensors[name] for name in names])

    def keep_final_norm(self, weight: torch.Tensor) -> None:
        """Keep the weight `[D]` of the norm behind the last layer, in its own dtype."""
        self._run.keep_tensors(_FINAL_NORM, {_WEIGHT: weight})

    def final_norm(self) -> torch.Tensor:
        """That weight, which must be there."""
        tensors = self._run.find_tensors(_FINAL_NORM)
        if tensors is None:
            raise ValueError("the final norm was never refitted")
        weight: torch.Tensor = tensors[_WEIGHT]
        return weight
