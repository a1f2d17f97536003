"""The weights that compensation solved, one file a half: a stopped run goes on from them."""

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from globalprune.artifacts.compensation_record import ModuleRepair
from globalprune.artifacts.disk import temporary_file
from globalprune.passes.interface import Half

_WEIGHT, _RECORD = "weight", "record"


class SolvedHalves:
    """A folder of solved output projections; a file that is there is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, module: ModuleRepair, weight: torch.Tensor) -> None:
        """Keep `weight [out, kept inputs]` in its own dtype, with what is known of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path((module.layer_idx, module.group_type))
        with temporary_file(path) as temporary:
            tensors = {_WEIGHT: weight.cpu().contiguous()}
            save_file(tensors, os.fspath(temporary), metadata={_RECORD: module.model_dump_json()})

    def find(self, half: Half) -> tuple[ModuleRepair, torch.Tensor] | None:
        """What was kept of a half, if it was."""
        path = self._path(half)
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as opened:
            module = ModuleRepair.model_validate_json(opened.metadata()[_RECORD])
            return module, opened.get_tensor(_WEIGHT)

    def weight(self, half: Half) -> torch.Tensor:
        """A half's weights, which must be there."""
        found = self.find(half)
        if found is None:
            raise ValueError(f"{half} was never solved")
        return found[1]

    def _path(self, half: Half) -> Path:
        layer, group_type = half
        return self._folder / f"layer-{layer:03}-{group_type}.safetensors"
