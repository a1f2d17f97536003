"""What a cut must know of a checkpoint, as plain values: shapes, and what of them a group owns.

Read from headers before a single weight; no torch, so that steps can be tested without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from globalprune.artifacts.stored_weights import stored_bytes
from globalprune.artifacts.structure import GroupType


@dataclass(frozen=True)
class TensorFacts:
    """One tensor's shape, and its dtype by safetensors' name."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def parameters(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        return stored_bytes(self.parameters, self.dtype)


@dataclass(frozen=True)
class Axis:
    """Where a half's groups lie in a tensor: in blocks of `dim`, one behind the other.

    Group `first + u` owns `width` slices of each, from u·width on, for every width of `widths`.
    """

    tensor: str  # below the layer: "self_attn.q_proj.weight"
    dim: int
    widths: tuple[int, ...]
    first: int = 0

    def groups(self, shape: Sequence[int]) -> int:
        """How many groups share a tensor of that shape."""
        return shape[self.dim] // sum(self.widths)


@dataclass(frozen=True)
class HalfFacts:
    """The tensors of one half of a layer, named below the layer."""

    axes: tuple[Axis, ...] = ()
    shared: tuple[str, ...] = ()  # they go with the last group: q/k norms
    gating: tuple[str, ...] = ()  # the weights of gate and up, where it has such; one if fused
    output: str | None = None  # the weight that brings what the groups make back to the stream
    output_bias: str | None = None  # belongs to no group; an emptied half still adds it


@dataclass(frozen=True)
class LayerFacts:
    """Both halves of one layer."""

    attention: HalfFacts
    mlp: HalfFacts

    def half(self, group_type: GroupType) -> HalfFacts:
        """The half of that kind."""
        return self.attention if group_type == "attention" else self.mlp


@dataclass(frozen=True)
class ModelFacts:
    """Every tensor of a checkpoint, each parameter once, and the layers they belong to."""

    tensors: Mapping[str, TensorFacts]
    prefixes: tuple[str, ...]  # of layer 0, 1, …: "model.layers.3."
    layers: tuple[LayerFacts, ...]
    final_norm: str  # the weight of the norm behind the last layer
