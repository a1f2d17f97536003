"""Decoder layers with grouped-query attention (q, k, v, o) and a gated MLP (gate, up, down).

Biases may stand on any projection, q/k norms of one head's size are shared by all heads, norms may
stand behind the halves too, and projections that read the same may be fused. Where q/k norms span
all heads the attention stays whole; experts are refused. Models that globalprune cut before are
read like any other, empty halves included.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from globalprune.artifacts.groups import GroupType, HalfStructure, LayerStructure, ModelStructure
from globalprune.models.checkpoint import Checkpoint
from globalprune.models.gated_decoder_form import PLAIN, LayerForm
from globalprune.models.gated_decoder_projections import MODEL_WIDTH
from globalprune.models.gated_decoder_shapes import LayerShapes, read_shapes
from globalprune.models.interface import GatingModules, GroupAxis

_PREFIX = "model.layers."
_FINAL_NORM = "model.norm"
_HALF_PREFIX: dict[GroupType, str] = {"attention": "self_attn.", "mlp": "mlp."}
_OUTPUT: dict[GroupType, str] = {"attention": "self_attn.o_proj", "mlp": "mlp.down_proj"}


@dataclass(frozen=True)
class GatedDecoder:
    """The adapter of one family."""

    name: str
    form: LayerForm = PLAIN
    residual_scale: str | None = None
    final_norm_offset: float = 0.0

    @property
    def final_norm(self) -> str:
        """`model.norm`."""
        return _FINAL_NORM

    def layer_prefix(self, index: int) -> str:
        """`model.layers.3.`."""
        return f"{_PREFIX}{index}."

    def half_prefix(self, group_type: GroupType) -> str:
        """`self_attn.` or `mlp.`."""
        return _HALF_PREFIX[group_type]

    def output(self, group_type: GroupType) -> str:
        """`self_attn.o_proj` or `mlp.down_proj`."""
        return _OUTPUT[group_type]

    def entry_norm(self, group_type: GroupType) -> str | None:
        """`input_layernorm`, and `post_attention_layernorm` or `pre_feedforward_layernorm`."""
        return self.form.norms.entering.get(group_type)

    def leaving_norm(self, group_type: GroupType) -> str | None:
        """`post_attention_layernorm` and `post_feedforward_layernorm`, in families with both."""
        return self.form.norms.leaving.get(group_type)

    def structure(self, checkpoint: Checkpoint) -> ModelStructure:
        """Read every layer from shapes and config; raise where they don't make sense together."""
        shapes = read_shapes(checkpoint, _PREFIX, self.form)
        layers = tuple(_layer(layer, self.form) for layer in shapes)
        return ModelStructure(layers=layers, parameters=checkpoint.parameters)

    def axes(self, layer: LayerStructure, group_type: GroupType) -> tuple[GroupAxis, ...]:
        """Rows of q, k, v and columns of o; rows of gate and up and columns of down."""
        return _axes(layer, self.form, group_type)

    def gating(self, group_type: GroupType) -> GatingModules | None:
        """Gate, up and their activation, of the MLP."""
        return self.form.projections.gating if group_type == "mlp" else None

    def shared(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """The q/k norms of an attention half that can be cut."""
        if group_type in self.form.fixed:
            return ()
        return _present(self.form.inside(group_type), layer)


def _layer(shapes: LayerShapes, form: LayerForm) -> LayerStructure:
    """Count one layer's groups and parameters."""
    return LayerStructure(
        attention=_half(shapes, form, "attention"),
        mlp=_half(shapes, form, "mlp"),
        norms=_parameters(shapes, form.norms.tensors),
        query_heads_per_group=shapes.query_heads_per_group,
        head_dim=shapes.head_dim,
        tensors=dict(shapes.tensors),
    )


def _half(shapes: LayerShapes, form: LayerForm, group_type: GroupType) -> HalfStructure:
    """Groups and costs of one half, counted from its tensors through its axes."""
    groups = shapes.groups[group_type]
    bias = _parameters(shapes, _present((f"{_OUTPUT[group_type]}.bias",), shapes))
    owned = _parameters(shapes, (axis.tensor for axis in _axes(shapes, form, group_type)))
    if groups and group_type in form.fixed:
        inside = _parameters(shapes, form.inside(group_type))
        return HalfStructure(groups=groups, cost=0, kept=owned + bias + inside)
    return HalfStructure(
        groups=groups,
        cost=owned // groups if groups else 0,
        shared=_parameters(shapes, _present(form.inside(group_type), shapes)),
        kept=bias,
    )


def _axes(
    shapes: LayerShapes | LayerStructure, form: LayerForm, group_type: GroupType
) -> tuple[GroupAxis, ...]:
    """The axes of every stored tensor that run over the half's groups."""
    widths = {"Q": shapes.query_heads_per_group * shapes.head_dim, "K": shapes.head_dim, "F": 1}
    candidates = (
        GroupAxis(f"{projection}.{kind}", dim, tuple(widths[block] for block in blocks))
        for projection, (rows, columns) in form.projections.halves[group_type].items()
        for kind, axes in (("weight", (rows, columns)), ("bias", (rows,)))
        for dim, blocks in enumerate(axes)
        if blocks != MODEL_WIDTH
    )
    return tuple(axis for axis in candidates if axis.tensor in shapes.tensors)


def _present(names: Iterable[str], shapes: LayerShapes | LayerStructure) -> tuple[str, ...]:
    """Those of the tensors that the layer has."""
    return tuple(name for name in names if name in shapes.tensors)


def _parameters(shapes: LayerShapes, names: Iterable[str]) -> int:
    """The parameters of the named tensors together."""
    return sum(math.prod(shapes.tensors[name]) for name in names)
