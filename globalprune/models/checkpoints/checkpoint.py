"""A model as it is stored: its config, its tensors' names and shapes, and one tensor at a time.

No model is built here. Each parameter appears once: a tied head and what can be recomputed
(rotary frequencies) are left out. Pickled weights are never read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from globalprune.artifacts.stored_weights import stored_bytes
from globalprune.models.sources.source import ModelSource

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a stored tensor; `dtype` is safetensors' name of it: `F32`, `BF16`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The bytes of its elements on disk."""
        return stored_bytes(self.parameters, self.dtype)


class Checkpoint(Protocol):
    """A stored model, which never changes."""

    @property
    def source(self) -> ModelSource:
        """Where the model is."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """The raw config.json; for GGUF, what transformers makes of its metadata."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every parameter once, by its name in the checkpoint."""
        ...

    @property
    def parameters(self) -> int:
        """The number of parameters; tied tensors count once."""
        ...

    @property
    def auxiliary_folder(self) -> Path | None:
        """The folder with the tokenizer, the licence and other auxiliary files, if there is one."""
        ...

    def read(self, name: str) -> "torch.Tensor":
        """Read one tensor onto the CPU, without loading the others."""
        ...
