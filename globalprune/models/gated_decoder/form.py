"""The parts of gated decoder layers as data: projections, norms and experts.

A family is one entry of these values in `models/registry.py`; nothing here reads a checkpoint. Axes
of tensors have letters: Q and K are the rows of queries and of keys, F the channels of the MLP, D
the hidden size, H the size of one head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final

from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.models.architecture import GatingModules, GroupAxis

HEAD_AXIS: Final = "H"
HIDDEN_AXIS: Final = "D"
_MATRIX_DIMENSIONS: Final = 2

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayerNorms:
    """Norms by the sublayer that they stand before or behind, by their names below the layer.

    A sublayer without a norm before it reads the residual stream itself.
    """

    before: Mapping[GroupType, str]
    behind: Mapping[GroupType, str] = field(default_factory=dict)
    biased: bool = False  # whether each of them has a bias beside its weight

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of their weights and biases."""
        kinds = ("weight", "bias") if self.biased else ("weight",)
        names = (*self.before.values(), *self.behind.values())
        return tuple(f"{name}.{kind}" for name in names for kind in kinds)


@dataclass(frozen=True)
class Projections:
    """Rows and columns of every linear layer, by its name below the layer."""

    sublayers: Mapping[GroupType, Mapping[str, tuple[str, str]]]
    measured_at: Mapping[str, tuple[str, int]]  # by axis: the layer and dimension with its length
    gating: GatingModules | None  # None: one projection enters the MLP's activation

    @property
    def all(self) -> dict[str, tuple[str, str]]:
        """The projections of both sublayers."""
        return {
            name: axes for sublayer in self.sublayers.values() for name, axes in sublayer.items()
        }

    def output(self, group_type: GroupType) -> str:
        """The projection whose rows are added to the residual stream."""
        sublayer = self.sublayers[group_type]
        return next(name for name, (rows, _) in sublayer.items() if rows == HIDDEN_AXIS)


@dataclass(frozen=True)
class MixtureOfExperts:
    """The names of the parts of a family's experts, and of their config keys."""

    stored: str = "mlp."  # the prefix of their tensors' names below the layer
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    width_key: str = "moe_intermediate_size"
    count_keys: tuple[str, ...] = ("num_experts", "num_local_experts")

    @property
    def router(self) -> str:
        """The weight of the router."""
        return f"{self.stored}gate.weight"

    def module_name(self, name: str) -> str:
        """Return the loaded model's name of a module that is stored under `name`."""
        inner = name.removeprefix(self.stored)
        return name if inner == name else f"mlp.{inner}"

    def output_modules(self, widths: Sequence[int]) -> tuple[str, ...]:
        """Return the modules whose inputs are the channels, of all experts that have any."""
        return tuple(self._name(e, self.down) for e, width in enumerate(widths) if width)

    def axes(self, widths: Sequence[int]) -> tuple[GroupAxis, ...]:
        """Return the rows of every expert's gate and up, and the columns of its down."""
        firsts = accumulate(widths, initial=0)
        return tuple(
            GroupAxis(self.weight(number, linear), dim, (1,), first)
            for number, (width, first) in enumerate(zip(widths, firsts, strict=False))
            if width
            for linear, dim in ((self.gate, 0), (self.up, 0), (self.down, 1))
        )

    def shapes(self, widths: Sequence[int], hidden: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all tensors of experts of these widths, and of the router."""
        shapes: dict[str, tuple[int, ...]] = {self.router: (len(widths), hidden)}
        for number, width in enumerate(widths):
            if width:
                shapes |= {
                    self.weight(number, way): (width, hidden) for way in (self.gate, self.up)
                }
                shapes[self.weight(number, self.down)] = (hidden, width)
        return shapes

    def weight(self, number: int, linear: str) -> str:
        """Return the name of one of an expert's weights."""
        return f"{self._name(number, linear)}.weight"

    def _name(self, number: int, linear: str) -> str:
        return f"{self.stored}experts.{number}.{linear}"


PRE_NORMS: Final = LayerNorms({"attention": "input_layernorm", "mlp": "post_attention_layernorm"})
POST_NORMS: Final = LayerNorms(
    {},
    {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"},
)
SANDWICH_NORMS: Final = LayerNorms(  # before and behind
    {"attention": "input_layernorm", "mlp": "pre_feedforward_layernorm"},
    {"attention": "post_attention_layernorm", "mlp": "post_feedforward_layernorm"},
)
# Norms of queries and keys, by weight: of every head alone, or of all heads together.
PER_HEAD: Final = {"self_attn.q_norm.weight": HEAD_AXIS, "self_attn.k_norm.weight": HEAD_AXIS}
ACROSS_HEADS: Final = {"self_attn.q_norm.weight": "Q", "self_attn.k_norm.weight": "K"}
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
class LayerForm:
    """Projections, the norms around the sublayers, and the norms of queries and keys."""

    projections: Projections = SEPARATE_PROJECTIONS
    norms: LayerNorms = PRE_NORMS
    query_key_norms: Mapping[str, str] = field(default_factory=dict)  # by weight: its axis
    mixture: MixtureOfExperts | None = None  # in the place of the MLP of some layers
    # tensors of one number in the MLP, of an activation that learns, by name: their shapes
    scalars: Shapes = field(default_factory=dict)
    # what else can't be cut, and why
    refused: Mapping[GroupType, str] = field(default_factory=dict)

    @property
    def fixed(self) -> tuple[GroupType, ...]:
        """The sublayers that can't be cut: a norm over all heads changes when a head goes."""
        fixed = {"attention"} if self.has_norms_across_heads else set()
        return tuple(kind for kind in GROUP_TYPES if kind in fixed | self.refused.keys())

    @property
    def has_norms_across_heads(self) -> bool:
        """Whether a norm of queries or keys is one of all heads together."""
        return any(axis != HEAD_AXIS for axis in self.query_key_norms.values())

    def inner_tensors(self, group_type: GroupType) -> tuple[str, ...]:
        """Return the tensors inside a sublayer that all of its groups use."""
        return tuple(self.query_key_norms if group_type == "attention" else self.scalars)

    def without_mlp(self) -> "LayerForm":
        """Return the form of a layer that has experts in the place of its MLP."""
        sublayers = {**self.projections.sublayers, "mlp": {}}
        return replace(self, projections=replace(self.projections, sublayers=sublayers))

    def axis_size(self, tensors: Shapes, axis: str) -> int:
        """Return the length of Q, K or F; 0 if the sublayer is empty or its tensor no matrix."""
        name, dim = self.projections.measured_at[axis]
        shape = tensors.get(f"{name}.weight", ())
        if len(shape) != _MATRIX_DIMENSIONS:
            return 0
        blocks = self.projections.all[name][dim]
        others = sum(self.axis_size(tensors, other) for other in blocks.replace(axis, ""))
        return max(0, shape[dim] - others) // blocks.count(axis)

    def shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor that a layer may have, by the sizes of the axes."""
        hidden = sizes[HIDDEN_AXIS]
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self.norms.tensors, (hidden,))
        shapes |= {name: (sizes[axis],) for name, axis in self.query_key_norms.items()}
        shapes |= self.scalars
        for name, axes in self.projections.all.items():
            rows, columns = (sum(sizes[block] for block in blocks) for blocks in axes)
            shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
        return shapes


PLAIN_FORM: Final = LayerForm()
