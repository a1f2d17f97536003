"""The weights that compensation solved, one file a half: a stopped run goes on from them.

The final norm's weight lies beside them; it is quickly made again, and so never looked for.
"""

import os
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from globalprune.artifacts.disk import temporary_file
from globalprune.artifacts.results.compensation_record import ModuleRepair, SolvedPart
from globalprune.errors import UsageError
from globalprune.passes.halves.kept_halves import half_file
from globalprune.passes.interface import Half
from globalprune.passes.repair.half_weights import HalfWeights

_FINAL_NORM: Final = "final-norm.safetensors"
_OUTPUT: Final[SolvedPart] = "output"
_GATE: Final[SolvedPart] = "gate"
_UP: Final[SolvedPart] = "up"
_FUSED: Final[SolvedPart] = "gate_up"
_WEIGHT, _RECORD, _TEXT = "weight", "record", "text"


class SolvedHalves:
    """A folder of solved weights; a file that is there is whole.

    `text` is the digest of the windows that halves are solved on; only readers do without.
    """

    def __init__(self, folder: Path, text: str = "") -> None:
        self._folder = folder
        self._text = text

    def keep(self, module: ModuleRepair, weights: HalfWeights) -> None:
        """Keep weights in their own dtype, with what is known of them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path((module.layer_idx, module.group_type))
        tensors: dict[str, torch.Tensor] = {_OUTPUT: weights.output}
        if weights.gating is not None:
            tensors[_GATE], tensors[_UP] = weights.gating
        with temporary_file(path) as temporary:
            metadata = {_RECORD: module.model_dump_json(), _TEXT: self._text}
            plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            save_file(plain, os.fspath(temporary), metadata=metadata)

    def find(self, half: Half) -> tuple[ModuleRepair, HalfWeights] | None:
        """What was kept of a half, if it was; raise `UsageError` if it was solved on other text."""
        path = self._path(half)
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as opened:
            known = opened.metadata()
            if self._text and known[_TEXT] != self._text:
                raise UsageError(
                    f"{path}: can't be resumed, since the text of --data was another then; put "
                    "that text back, or say --overwrite instead of --resume to begin anew."
                )
            module = ModuleRepair.model_validate_json(known[_RECORD])
            gated = _GATE in opened.keys()  # noqa: SIM118 - safetensors' own, no dict
            gating = (opened.get_tensor(_GATE), opened.get_tensor(_UP)) if gated else None
            return module, HalfWeights(opened.get_tensor(_OUTPUT), gating)

    def weight(self, half: Half, part: SolvedPart) -> torch.Tensor:
        """One of a half's weights, which must be there; only that is read."""
        path = self._path(half)
        if not path.is_file():
            raise ValueError(f"{half} was never solved")
        with safe_open(path, framework="pt") as opened:
            parts = (_GATE, _UP) if part == _FUSED else (part,)
            return torch.cat([opened.get_tensor(name) for name in parts])

    def keep_final_norm(self, weight: torch.Tensor) -> None:
        """Keep the weight `[D]` of the norm behind the last layer, in its own dtype."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(self._folder / _FINAL_NORM) as temporary:
            save_file({_WEIGHT: weight.cpu().contiguous()}, os.fspath(temporary))

    def final_norm(self) -> torch.Tensor:
        """That weight, which must be there."""
        with safe_open(self._folder / _FINAL_NORM, framework="pt") as opened:
            weight: torch.Tensor = opened.get_tensor(_WEIGHT)
        return weight

    def _path(self, half: Half) -> Path:
        return half_file(self._folder, half)
