"""What must be known of an architecture, as data: which tensors a group owns a slice of, and where.

The same description drives cost counting, the reduction to importances, surgery and masking. A new
family with a known shape of layer is one entry in `registry.py`; a new shape is one new file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from globalprune.artifacts.structure import GroupType, LayerStructure, ModelStructure
from globalprune.models.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class GroupAxis:
    """One tensor of which every group of a sublayer owns equal slices, or every group of an expert.

    Along dimension `dim` lie blocks, one behind the other: one of every width in `widths`. In each
    of them group `first + u` owns the indices `[u * width, (u + 1) * width)`, counted from its
    beginning.
    """

    tensor: str  # the name below the layer: "self_attn.q_proj.weight"
    dim: int
    widths: tuple[int, ...]
    first: int = 0

    @property
    def width(self) -> int:
        """What one group owns of all blocks together."""
        return sum(self.widths)

    def groups(self, shape: Sequence[int]) -> int:
        """How many groups own slices of a tensor of that shape."""
        return shape[self.dim] // self.width


@dataclass(frozen=True)
class GatingModules:
    """A gated MLP's way in, activation(gate(x)) · up(x): the modules' names below the layer."""

    linears: tuple[str, ...]  # gate and up, or the one whose rows are gate's and then up's
    activation: str


class ModelAdapter(Protocol):
    """Knows the tensors of one architecture; holds no model and no weights."""

    @property
    def name(self) -> str:
        """The `model_type` that it serves."""
        ...

    @property
    def final_norm(self) -> str:
        """The norm behind the last layer; what leaves it is proportional to weight + offset."""
        ...

    @property
    def final_norm_offset(self) -> float:
        """That offset: 1 in families whose norms store how far they are from it."""
        ...

    def layer_prefix(self, index: int) -> str:
        """What the tensor names of a layer begin with: `model.layers.3.`."""
        ...

    def sublayer_prefix(self, group_type: GroupType) -> str:
        """What the tensor names of a sublayer begin with, below the layer: `self_attn.`."""
        ...

    def entry_norm(self, group_type: GroupType) -> str | None:
        """The norm below the layer whose input is the residual stream that the sublayer adds to.

        None where the sublayer reads the stream itself.
        """
        ...

    def leaving_norm(self, group_type: GroupType) -> str | None:
        """The norm below the layer that the sublayer's output passes before it joins the stream."""
        ...

    @property
    def residual_scale(self) -> str | None:
        """The layer's attribute by which what a sublayer makes is multiplied before it joins it."""
        ...

    def check_shapes(self, checkpoint: Checkpoint) -> None:
        """Raise as `structure` does where shapes and config make no sense; loads no library."""
        ...

    def structure(self, checkpoint: Checkpoint) -> ModelStructure:
        """Read what there is to cut from shapes and config; no weight is read."""
        ...

    def axes(self, layer: LayerStructure, group_type: GroupType) -> tuple[GroupAxis, ...]:
        """Every tensor of which the sublayer's groups own slices; none for an empty sublayer."""
        ...

    def module(self, name: str) -> str:
        """What the loaded model calls a module of that stored name, both below the layer."""
        ...

    def outputs(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """All linear modules whose inputs the groups own: one, or one of every expert."""
        ...

    def output(self, group_type: GroupType) -> str:
        """The linear module whose inputs the groups own; its bias belongs to no group and stays."""
        ...

    def gating(self, group_type: GroupType) -> GatingModules | None:
        """The way into a sublayer whose groups are the channels of a gated MLP; else None."""
        ...

    def shared(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """Tensors that all groups of the sublayer use, and that go with the last of them."""
        ...
