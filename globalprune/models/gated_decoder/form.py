"""The parts of gated decoder layers as data: projections, norms and experts.

A family is one entry of these values in `models/registry.py`; nothing here reads a checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final

from globalprune.artifacts.structure import GroupType
from globalprune.models.architecture import GatingModules, GroupAxis

HEAD_AXIS: Final = "H"  # the axis of one head's size


@dataclass(frozen=True)
class LayerNorms:
    """Norms by the sublayer that they stand before or behind, by their names below the layer.

    A sublayer that none stands before reads the residual stream itself.
    """

    entering: Mapping[GroupType, str]
    leaving: Mapping[GroupType, str] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of their weights."""
        return tuple(f"{name}.weight" for name in (*self.entering.values(), *self.leaving.values()))


PRE_NORMS: Final = LayerNorms({"attention": "input_layernorm", "mlp": "post_attention_layernorm"})
SANDWICH_NORMS: Final = LayerNorms(
    {"attention": "input_layernorm", "mlp": "pre_feedforward_layernorm"},
    {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"},
)
POST_NORMS: Final = LayerNorms(
    {},
    {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"},
)
PER_HEAD: Final = {"self_attn.q_norm.weight": HEAD_AXIS, "self_attn.k_norm.weight": HEAD_AXIS}
ACROSS_HEADS: Final = {"self_attn.q_norm.weight": "Q", "self_attn.k_norm.weight": "K"}


HIDDEN_AXIS: Final = "D"


@dataclass(frozen=True)
class Projections:
    """Rows and columns of every linear layer, by its name below the layer."""

    sublayers: Mapping[GroupType, Mapping[str, tuple[str, str]]]
    measured_at: Mapping[str, tuple[str, int]]  # by axis: the layer and the dimension that tell it
    gating: GatingModules

    @property
    def all(self) -> dict[str, tuple[str, str]]:
        """Those of both sublayers."""
        return {
            name: axes for sublayer in self.sublayers.values() for name, axes in sublayer.items()
        }


SEPARATE_PROJECTIONS: Final = Projections(
    {
        "attention": {
            "self_attn.q_proj": ("Q", "D"),
            "self_attn.k_proj": ("K", "D"),
            "self_attn.v_proj": ("K", "D"),
            "self_attn.o_proj": ("D", "Q"),
        },
        "mlp": {
            "mlp.gate_proj": ("F", "D"),
            "mlp.up_proj": ("F", "D"),
            "mlp.down_proj": ("D", "F"),
        },
    },
    {"Q": ("self_attn.q_proj", 0), "K": ("self_attn.k_proj", 0), "F": ("mlp.up_proj", 0)},
    GatingModules(("mlp.gate_proj", "mlp.up_proj"), "mlp.act_fn"),
)
FUSED_PROJECTIONS: Final = Projections(  # queries, keys and values in one; gate and up in one
    {
        "attention": {"self_attn.qkv_proj": ("QKK", "D"), "self_attn.o_proj": ("D", "Q")},
        "mlp": {"mlp.gate_up_proj": ("FF", "D"), "mlp.down_proj": ("D", "F")},
    },
    {"Q": ("self_attn.o_proj", 1), "K": ("self_attn.qkv_proj", 0), "F": ("mlp.gate_up_proj", 0)},
    GatingModules(("mlp.gate_up_proj",), "mlp.activation_fn"),
)


@dataclass(frozen=True)
class MixtureOfExperts:
    """What a family calls the parts of its mixtures."""

    stored: str = "mlp."  # what their tensors' names begin with, below the layer
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    width_key: str = "moe_intermediate_size"
    count_keys: tuple[str, ...] = ("num_experts", "num_local_experts")

    @property
    def router(self) -> str:
        """The weight of the router."""
        return f"{self.stored}gate.weight"

    def module(self, name: str) -> str:
        """What the loaded model calls a module that is stored under that name, below the layer."""
        inner = name.removeprefix(self.stored)
        return name if inner == name else f"mlp.{inner}"

    def outputs(self, experts: Sequence[int]) -> tuple[str, ...]:
        """The modules whose inputs are the channels, of all experts that have any."""
        return tuple(self._name(e, self.down) for e, width in enumerate(experts) if width)

    def axes(self, experts: Sequence[int]) -> tuple[GroupAxis, ...]:
        """Rows of every expert's gate and up, and columns of its down."""
        firsts = accumulate(experts, initial=0)
        return tuple(
            GroupAxis(self.weight(number, linear), dim, (1,), first)
            for number, (width, first) in enumerate(zip(experts, firsts, strict=False))
            if width
            for linear, dim in ((self.gate, 0), (self.up, 0), (self.down, 1))
        )

    def shapes(self, experts: Sequence[int], hidden: int) -> dict[str, tuple[int, ...]]:
        """Every tensor of experts of these widths, and the router's."""
        found: dict[str, tuple[int, ...]] = {self.router: (len(experts), hidden)}
        for number, width in enumerate(experts):
            if width:
                found |= {self.weight(number, way): (width, hidden) for way in (self.gate, self.up)}
                found[self.weight(number, self.down)] = (hidden, width)
        return found

    def weight(self, number: int, linear: str) -> str:
        """The name of one of an expert's weights."""
        return f"{self._name(number, linear)}.weight"

    def _name(self, number: int, linear: str) -> str:
        return f"{self.stored}experts.{number}.{linear}"


Shapes = Mapping[str, tuple[int, ...]]
_MATRIX: Final = 2  # dimensions


@dataclass(frozen=True)
class LayerForm:
    """Projections, the norms around the sublayers, and the norms of queries and keys."""

    projections: Projections = SEPARATE_PROJECTIONS
    norms: LayerNorms = PRE_NORMS
    query_key_norms: Mapping[str, str] = field(default_factory=dict)  # by weight: its axis
    mixture: MixtureOfExperts | None = None  # of experts, in the place of the MLP of some layers

    @property
    def fixed(self) -> tuple[GroupType, ...]:
        """The sublayers that can't be cut: a norm over all heads changes when one of them goes."""
        return ("attention",) if any(a != HEAD_AXIS for a in self.query_key_norms.values()) else ()

    def inside(self, group_type: GroupType) -> tuple[str, ...]:
        """The norms inside a sublayer, by the names of their weights."""
        return tuple(self.query_key_norms) if group_type == "attention" else ()

    def without_mlp(self) -> "LayerForm":
        """The same where something else stands in the place of the MLP."""
        sublayers = {**self.projections.sublayers, "mlp": {}}
        return replace(self, projections=replace(self.projections, sublayers=sublayers))

    def axis_size(self, tensors: Shapes, axis: str) -> int:
        """The length of Q, K or F; 0 where the sublayer is empty or its tensor is no matrix."""
        name, dim = self.projections.measured_at[axis]
        shape = tensors.get(f"{name}.weight", ())
        if len(shape) != _MATRIX:
            return 0
        blocks = self.projections.all[name][dim]
        others = sum(self.axis_size(tensors, other) for other in blocks.replace(axis, ""))
        return max(0, shape[dim] - others) // blocks.count(axis)

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor that a layer may have, its axes being so long."""
        width = sizes[HIDDEN_AXIS]
        found: dict[str, tuple[int, ...]] = dict.fromkeys(self.norms.tensors, (width,))
        found |= {name: (sizes[axis],) for name, axis in self.query_key_norms.items()}
        for name, axes in self.projections.all.items():
            rows, columns = (sum(sizes[block] for block in blocks) for blocks in axes)
            found |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
        return found


PLAIN_FORM: Final = LayerForm()
