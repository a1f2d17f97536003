"""What long walks found of each half, on disk: a run that was stopped doesn't look for it again.

What the tensors mean is known to the walk that keeps them.
"""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from globalprune.artifacts.disk import temporary_file
from globalprune.passes.interface import Half


class KeptHalves:
    """A folder with a file of tensors for every half; a file that is there is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, half: Half, tensors: dict[str, torch.Tensor]) -> None:
        """Keep the tensors of a half, bit for bit."""
        with temporary_file(self._path(half)) as temporary:
            save_file(tensors, os.fspath(temporary))

    def find(self, half: Half) -> dict[str, torch.Tensor] | None:
        """What was kept of a half, in host memory, if it was."""
        path = self._path(half)
        return load_file(path) if path.is_file() else None

    def _path(self, half: Half) -> Path:
        return half_file(self._folder, half)


def half_file(folder: Path, half: Half) -> Path:
    """Where something of a half is kept."""
    layer, group_type = half
    return folder / f"layer-{layer:03}-{group_type}.safetensors"
