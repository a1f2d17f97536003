"""What a config.json says of MLPs and experts: how wide they are, and which layers have which.

Layers are numbered in some families to say what they are, so a layer less moves that too.
"""

from collections.abc import Sequence
from typing import Any, Final

from transformers import PretrainedConfig

from globalprune.artifacts.plans.plan_effect import LayerEffect
from globalprune.artifacts.plans.runtimes import EXPERT_ROWS
from globalprune.artifacts.structure import HalfStructure, LayerStructure
from globalprune.models.configs.config_figures import EXPERT_WIDTHS

WIDTH: Final = "intermediate_size"
OWN_WIDTH: Final = "moe_intermediate_size"  # of experts, in families that have it beside WIDTH
_DENSE, _EVERY = "mlp_only_layers", "decoder_sparse_step"


def width_key(half: HalfStructure, sizes: PretrainedConfig) -> str:
    """Under which key a layer with such an MLP looks for its width."""
    return OWN_WIDTH if half.experts and hasattr(sizes, OWN_WIDTH) else WIDTH


def mlp_part(half: HalfStructure, effect: LayerEffect, sizes: PretrainedConfig) -> dict[str, Any]:
    """How wide one layer is after the cut, or each of its experts."""
    key = width_key(half, sizes)
    if not half.experts:
        return {key: len(effect.mlp)}
    if len(set(effect.experts)) == 1:
        return {key: effect.experts[0]}
    # no width of all: one that a loader which doesn't know of the list must stumble over
    return {key: 2 if getattr(sizes, key) == 1 else 1, EXPERT_WIDTHS: list(effect.experts)}


def mlp_kinds(layers: Sequence[LayerStructure], sizes: PretrainedConfig) -> dict[str, Any]:
    """Which layers have experts, in a family that says it by their numbers."""
    if not hasattr(sizes, _DENSE):
        return {}
    return {_EVERY: 1, _DENSE: [i for i, layer in enumerate(layers) if not layer.mlp.experts]}


def odd_width(
    layers: Sequence[LayerStructure], alike: dict[str, Any], sizes: PretrainedConfig
) -> str | None:
    """Say so where all experts are alike, but of a width that transformers can't multiply."""
    for layer in layers:
        key = width_key(layer.mlp, sizes)
        if layer.mlp.experts and alike[key] % EXPERT_ROWS and alike[key] != getattr(sizes, key):
            return f"its experts are {alike[key]} wide, no multiple of {EXPERT_ROWS}"
    return None
