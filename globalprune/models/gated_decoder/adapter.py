"""Decoder layers with grouped-query attention (q, k, v, o) and a gated MLP (gate, up, down).

Any projection may have a bias, norms may stand before and behind a sublayer, projections with the
same input may be fused, and a mixture of experts may take the place of the MLP. Norms of queries
and keys may be those of one head, which all heads share; where they span all heads the attention
stays whole. Models that globalprune cut before are read like any other, empty sublayers included.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from globalprune.artifacts.structure import (
    GroupType,
    LayerStructure,
    ModelStructure,
    SublayerStructure,
)
from globalprune.models.architecture import GatingModules, GroupAxis
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.gated_decoder.form import HIDDEN_AXIS, PLAIN_FORM, LayerForm
from globalprune.models.gated_decoder.shapes import (
    NO_EXPERTS,
    ExpertShapes,
    LayerShapes,
    read_shapes,
)

_PREFIX: Final = "model.layers."
_FINAL_NORM: Final = "model.norm"
_SUBLAYER_PREFIX: Final[dict[GroupType, str]] = {"attention": "self_attn.", "mlp": "mlp."}

_Layer = LayerShapes | LayerStructure


@dataclass(frozen=True)
class GatedDecoder:
    """The adapter of one family."""

    name: str
    form: LayerForm = PLAIN_FORM
    residual_scale: str | None = None
    final_norm_offset: float = 0.0
    proved_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def final_norm(self) -> str:
        """`model.norm`."""
        return _FINAL_NORM

    def layer_prefix(self, index: int) -> str:
        """`model.layers.3.`."""
        return f"{_PREFIX}{index}."

    def sublayer_prefix(self, group_type: GroupType) -> str:
        """`self_attn.` or `mlp.`."""
        return _SUBLAYER_PREFIX[group_type]

    def module_name(self, name: str) -> str:
        """Return the same name, except for experts that are stored under another."""
        return name if self.form.mixture is None else self.form.mixture.module_name(name)

    def output_module(self, group_type: GroupType) -> str:
        """`self_attn.o_proj` or `mlp.down_proj`, in most families."""
        return self.form.projections.output(group_type)

    def output_modules(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """Return that module, or the `down_proj` of every expert."""
        if self.form.mixture and group_type == "mlp" and layer.mlp.experts:
            return self.form.mixture.output_modules(layer.mlp.experts)
        return (self.output_module(group_type),)

    def pre_norm(self, group_type: GroupType) -> str | None:
        """`input_layernorm`, and `post_attention_layernorm` or `pre_feedforward_layernorm`."""
        return self.form.norms.before.get(group_type)

    def post_norm(self, group_type: GroupType) -> str | None:
        """`post_attention_layernorm` and `post_feedforward_layernorm`, in families with both."""
        return self.form.norms.behind.get(group_type)

    def check_shapes(self, checkpoint: Checkpoint) -> None:
        """Read every layer's shapes, and nothing else."""
        read_shapes(checkpoint, _PREFIX, self.form)

    def structure(self, checkpoint: Checkpoint) -> ModelStructure:
        """Read every layer from shapes and config; raise where they contradict each other."""
        shapes = read_shapes(checkpoint, _PREFIX, self.form)
        # transformers is slow to import, and a model that is refused before doesn't need it
        from globalprune.models.configs.class_config import attention_windows

        source = checkpoint.source
        windows = attention_windows(checkpoint.config, None if source.is_gguf else source.path)
        return ModelStructure(
            layers=tuple(map(self._layer, shapes, windows)), parameters=checkpoint.parameters
        )

    def axes(self, layer: LayerStructure, group_type: GroupType) -> tuple[GroupAxis, ...]:
        """Return rows of q, k, v and columns of o; rows of gate and up and columns of down."""
        return self._axes(layer, group_type, layer.sublayer(group_type).experts)

    def gating(self, group_type: GroupType) -> GatingModules | None:
        """Return gate, up and their activation, for an MLP that has a gate."""
        return self.form.projections.gating if group_type == "mlp" else None

    def shared_tensors(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """Return q/k norms, an activation's own tensors, or the router of experts."""
        if group_type in self.form.fixed:
            return ()
        return self._shared(layer, group_type, layer.sublayer(group_type).experts)

    def _layer(self, shapes: LayerShapes, window: int | None) -> LayerStructure:
        """Count one layer's groups and parameters."""
        return LayerStructure(
            attention=self._sublayer(shapes, "attention"),
            mlp=self._sublayer(shapes, "mlp", shapes.experts),
            norms=_parameters(shapes, self.form.norms.tensors),
            query_heads_per_group=shapes.query_heads_per_group,
            head_dim=shapes.head_dim,
            tensors=dict(shapes.tensors),
            window=window,
        )

    def _sublayer(
        self, shapes: LayerShapes, group_type: GroupType, experts: ExpertShapes = NO_EXPERTS
    ) -> SublayerStructure:
        """Count the groups and costs of one sublayer from its tensors, through its axes."""
        groups = shapes.groups[group_type]
        bias = _parameters(shapes, _present((f"{self.output_module(group_type)}.bias",), shapes))
        axes = self._axes(shapes, group_type, experts.widths)
        owned = _parameters(shapes, {axis.tensor for axis in axes})
        shared = _parameters(shapes, self._shared(shapes, group_type, experts.widths))
        if groups and group_type in self.form.fixed:
            return SublayerStructure(
                groups=groups,
                cost=0,
                kept=owned + bias + shared,
                reason=self.form.refused.get(group_type, ""),
            )
        return SublayerStructure(
            groups=groups,
            cost=owned // groups if groups else 0,
            shared=shared,
            kept=bias,
            experts=experts.widths,
            chosen=experts.chosen,
        )

    def _axes(
        self, shapes: _Layer, group_type: GroupType, widths: Sequence[int]
    ) -> tuple[GroupAxis, ...]:
        """Return the axes of every stored tensor that run over the sublayer's groups."""
        if self.form.mixture and widths:
            return self.form.mixture.axes(widths)
        sizes = {"Q": shapes.query_heads_per_group * shapes.head_dim, "K": shapes.head_dim, "F": 1}
        candidates = (
            GroupAxis(f"{projection}.{kind}", dim, tuple(sizes[block] for block in blocks))
            for projection, (rows, columns) in self.form.projections.sublayers[group_type].items()
            for kind, axes in (("weight", (rows, columns)), ("bias", (rows,)))
            for dim, blocks in enumerate(axes)
            if blocks != HIDDEN_AXIS
        )
        return tuple(axis for axis in candidates if axis.tensor in shapes.tensors)

    def _shared(
        self, shapes: _Layer, group_type: GroupType, widths: Sequence[int]
    ) -> tuple[str, ...]:
        """Return the tensors that all groups of the sublayer use."""
        if self.form.mixture and widths:
            return (self.form.mixture.router,)
        return _present(self.form.inner_tensors(group_type), shapes)


def _present(names: Iterable[str], shapes: _Layer) -> tuple[str, ...]:
    """Return those of the tensors that the layer has."""
    return tuple(name for name in names if name in shapes.tensors)


def _parameters(shapes: _Layer, names: Iterable[str]) -> int:
    """Count the parameters of the named tensors together."""
    return sum(math.prod(shapes.tensors[name]) for name in names)
