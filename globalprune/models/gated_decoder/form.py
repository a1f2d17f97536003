"""Which tensors a gated decoder layer may have, and their shapes: a family's facts put together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from globalprune.artifacts.structure import GroupType
from globalprune.models.gated_decoder.mixtures import Mixture
from globalprune.models.gated_decoder.norms import BEFORE, HEAD, LayerNorms
from globalprune.models.gated_decoder.projections import MODEL_WIDTH, SEPARATE, Projections

Shapes = Mapping[str, tuple[int, ...]]
_MATRIX: Final = 2  # dimensions


@dataclass(frozen=True)
class LayerForm:
    """Projections, the norms around the halves, and the norms of queries and keys."""

    projections: Projections = SEPARATE
    norms: LayerNorms = BEFORE
    query_key_norms: Mapping[str, str] = field(default_factory=dict)  # by weight: its axis
    mixture: Mixture | None = None  # of experts, in the place of the MLP of some layers

    @property
    def fixed(self) -> tuple[GroupType, ...]:
        """The halves that can't be cut: a norm over all heads changes when one of them goes."""
        return ("attention",) if any(a != HEAD for a in self.query_key_norms.values()) else ()

    def inside(self, group_type: GroupType) -> tuple[str, ...]:
        """The norms inside a half, by the names of their weights."""
        return tuple(self.query_key_norms) if group_type == "attention" else ()

    def without_mlp(self) -> "LayerForm":
        """The same where something else stands in the place of the MLP."""
        halves = {**self.projections.halves, "mlp": {}}
        return replace(self, projections=replace(self.projections, halves=halves))

    def axis_size(self, tensors: Shapes, axis: str) -> int:
        """The length of Q, K or F; 0 where the half is empty or its tensor is no matrix."""
        name, dim = self.projections.measured_at[axis]
        shape = tensors.get(f"{name}.weight", ())
        if len(shape) != _MATRIX:
            return 0
        blocks = self.projections.all[name][dim]
        others = sum(self.axis_size(tensors, other) for other in blocks.replace(axis, ""))
        return max(0, shape[dim] - others) // blocks.count(axis)

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor that a layer may have, its axes being so long."""
        width = sizes[MODEL_WIDTH]
        found: dict[str, tuple[int, ...]] = dict.fromkeys(self.norms.tensors, (width,))
        found |= {name: (sizes[axis],) for name, axis in self.query_key_norms.items()}
        for name, axes in self.projections.all.items():
            rows, columns = (sum(sizes[block] for block in blocks) for blocks in axes)
            found |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
        return found


PLAIN: Final = LayerForm()
