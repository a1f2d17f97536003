"""What must be known of an architecture, as data: which tensors a group owns a slice of, and where.

The same description drives cost counting, the reduction to importances, surgery and masking. A new
family with a known form of layer is one entry in `registry.py`; a new form is a new folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.structure import GroupType, LayerStructure, ModelStructure
from globalprune.models.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class GroupAxis:
    """One tensor of which every group of a sublayer, or of one expert, owns equal slices.

    Dimension `dim` consists of consecutive blocks, one for each width in `widths`. In each of them
    group `first + u` owns the indices `[u * width, (u + 1) * width)`, counted from its beginning.
    """

    tensor: str  # the name below the layer: "self_attn.q_proj.weight"
    dim: int
    widths: tuple[int, ...]
    first: int = 0

    @property
    def width(self) -> int:
        """The indices that one group owns in all blocks together."""
        return sum(self.widths)

    def groups(self, shape: Sequence[int]) -> int:
        """Return how many groups own slices of a tensor of that shape."""
        return shape[self.dim] // self.width

    def slices(self, kept: IndexSet, shape: Sequence[int]) -> IndexSet:
        """Return the indices along `dim` that kept groups of the sublayer own in such a tensor."""
        groups = self.groups(shape)
        own = kept.within(self.first, self.first + groups)
        slices, begin = IndexSet(), 0
        for width in self.widths:
            ranges = ((first * width, (last + 1) * width - 1) for first, last in own.ranges)
            slices |= IndexSet(tuple((begin + first, begin + last) for first, last in ranges))
            begin += groups * width
        return slices


@dataclass(frozen=True)
class GatingModules:
    """The input side of a gated MLP, activation(gate(x)) · up(x): module names below the layer."""

    linears: tuple[str, ...]  # gate and up, or the one whose rows are gate's and then up's
    activation: str


class ModelAdapter(Protocol):
    """Knows the tensors of one architecture; holds no model and no weights."""

    @property
    def name(self) -> str:
        """The `model_type` that it serves."""
        ...

    @property
    def proved_with(self) -> Mapping[str, str]:
        """The versions with which a family that no table knows was proved; empty for others."""
        ...

    @property
    def final_norm(self) -> str:
        """The norm behind the last layer; its output is proportional to weight + offset."""
        ...

    @property
    def final_norm_offset(self) -> float:
        """That offset: 1 in families whose norms store how far a weight is from 1, else 0."""
        ...

    def layer_prefix(self, index: int) -> str:
        """Return the prefix of the names of a layer's tensors: `model.layers.3.`."""
        ...

    def sublayer_prefix(self, group_type: GroupType) -> str:
        """Return the prefix of the names of a sublayer's tensors below the layer: `self_attn.`."""
        ...

    def pre_norm(self, group_type: GroupType) -> str | None:
        """Return the norm, below the layer, through which the sublayer reads the residual stream.

        None where the sublayer reads the stream itself.
        """
        ...

    def post_norm(self, group_type: GroupType) -> str | None:
        """Return the norm, below the layer, of what the sublayer adds to the stream, if any."""
        ...

    @property
    def residual_scale(self) -> str | None:
        """The layer's attribute that multiplies what a sublayer adds to the stream, if any."""
        ...

    def check_shapes(self, checkpoint: Checkpoint) -> None:
        """Raise as `structure` does where shapes and config contradict each other; load nothing."""
        ...

    def structure(self, checkpoint: Checkpoint) -> ModelStructure:
        """Read all groups from shapes and config; no weight is read.

        Raise `CheckpointError` or `UnsupportedArchitecture` where they contradict each other.
        """
        ...

    def axes(self, layer: LayerStructure, group_type: GroupType) -> tuple[GroupAxis, ...]:
        """Return every tensor that the sublayer's groups own slices of; none if it is empty."""
        ...

    def module_name(self, name: str) -> str:
        """Return the loaded model's name of a module that is stored as `name` below the layer."""
        ...

    def output_modules(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """Return all linear modules whose inputs the groups own: one, or one of every expert."""
        ...

    def output_module(self, group_type: GroupType) -> str:
        """Return the linear module whose inputs the groups own; its bias belongs to no group."""
        ...

    def gating(self, group_type: GroupType) -> GatingModules | None:
        """Return the input side of a sublayer whose groups are channels of a gated MLP, or None."""
        ...

    def shared_tensors(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """Return the tensors that all groups of the sublayer use; they go with the last group."""
        ...
