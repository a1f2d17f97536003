"""A tensor of a GGUF file: what of the checkpoint it is made of, as data, and how that is read.

llama.cpp's llama and deci turn neighbouring numbers by rope, where transformers turns the first
half of a head against the second; so the rows of queries and keys change places, in every head.
"""

import math
from dataclasses import dataclass

import torch

from globalprune.models.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class Rows:
    """A tensor of the checkpoint, whose heads are interleaved if it says how many it has."""

    name: str
    heads: int | None = None

    def read(self, checkpoint: Checkpoint) -> torch.Tensor:
        """The numbers, in the order that llama.cpp wants."""
        tensor = checkpoint.read(self.name)
        if self.heads is None:
            return tensor
        halves = tensor.reshape(self.heads, 2, -1, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of the file: some of the checkpoint's, one above the other, or our own numbers."""

    name: str
    shape: tuple[int, ...]
    rows: tuple[Rows, ...] = ()
    fill: float | tuple[float, ...] = 0.0  # where there are no rows: all over, or one by one

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def read(self, checkpoint: Checkpoint) -> torch.Tensor:
        """Its numbers, as the checkpoint stores them."""
        if not self.rows:
            return torch.tensor(self.fill).expand(self.shape)
        return torch.cat([rows.read(checkpoint) for rows in self.rows])
