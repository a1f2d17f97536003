"""Shapes and configs that don't make sense together are refused, with what was found."""

from typing import Any

import pytest
from shape_checkpoint import Shapes, layer_shapes, shape_checkpoint

from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.gated_decoder.form import (
    ACROSS_HEADS,
    FUSED_PROJECTIONS,
    PER_HEAD,
    PLAIN_FORM,
    LayerForm,
)
from globalprune.models.gated_decoder.shapes import LayerShapes, read_shapes

PREFIX = "model.layers."
LAYER = layer_shapes(hidden=32, heads=6, kv_heads=3, head_dim=8, width=24)
CONFIG: dict[str, Any] = {
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "intermediate_size": 24,
}
QUERY_KEY_NORMS = {"self_attn.q_norm.weight": (8,), "self_attn.k_norm.weight": (8,)}


NORMS_OF_HEADS = LayerForm(query_key_norms=PER_HEAD)


def read(
    layers: list[Shapes], form: LayerForm = PLAIN_FORM, **config: Any
) -> tuple[LayerShapes, ...]:
    """Read the shapes of layers around which all else is in order."""
    said = CONFIG | config
    checkpoint = shape_checkpoint(layers, vocabulary=260, **({"hidden": 32} | said))
    return read_shapes(checkpoint, PREFIX, form)


def without(*names: str) -> Shapes:
    """The layer, some tensors missing."""
    return {name: shape for name, shape in LAYER.items() if name not in names}


def test_head_dim_is_counted_from_query_rows_where_the_config_is_silent() -> None:
    """6 heads × 8 on width 32: hidden / heads would not even be whole."""
    assert [layer.head_dim for layer in read([LAYER, LAYER])] == [8, 8]
    assert [layer.head_dim for layer in read([LAYER], head_dim=None)] == [8]


def test_the_config_has_the_last_word_on_head_dim() -> None:
    """The same rows are 12 heads of 4 if the config says so."""
    [layer] = read([LAYER], head_dim=4, num_attention_heads=12, num_key_value_heads=6)
    assert (layer.head_dim, layer.groups["attention"], layer.query_heads_per_group) == (4, 6, 2)


MALFORMED: dict[str, tuple[list[Shapes], dict[str, Any], type[Exception], str]] = {
    "missing tensor": (
        [LAYER, without("self_attn.v_proj.weight")],
        {},
        CheckpointError,
        r"shapes-only: layer 1: self_attn\.v_proj\.weight: not in the checkpoint; download",
    ),
    "missing sublayer that the config doesn't know of": (
        [without(*(name for name in LAYER if name.startswith("mlp.")))],
        {},
        CheckpointError,
        r"layer 0: mlp\.down_proj\.weight, mlp\.gate_proj\.weight, mlp\.up_proj\.weight: not in",
    ),
    "missing norm": (
        [without("input_layernorm.weight")],
        {},
        CheckpointError,
        r"layer 0: input_layernorm\.weight: not in the checkpoint",
    ),
    "fused projections": (
        [without("self_attn.q_proj.weight") | {"self_attn.qkv_proj.weight": (96, 32)}],
        {},
        UnsupportedArchitecture,
        r"layer 0: self_attn\.qkv_proj\.weight: not a tensor of this architecture; projections",
    ),
    "experts": (
        [LAYER | {"mlp.experts.0.w1.weight": (24, 32)}],
        {},
        UnsupportedArchitecture,
        r"mlp\.experts\.0\.w1\.weight: not a tensor of this architecture",
    ),
    "norms of heads where the family has none": (
        [LAYER | QUERY_KEY_NORMS],
        {},
        UnsupportedArchitecture,
        r"self_attn\.k_norm\.weight, self_attn\.q_norm\.weight: not a tensor of this",
    ),
    "layer left out": (
        [LAYER],
        {"num_hidden_layers": 2},
        CheckpointError,
        r"those of 1 layers, the last of them 0, where config\.json says num_hidden_layers 2",
    ),
    "more layers than the config says": (
        [LAYER, LAYER],
        {"num_hidden_layers": 1},
        CheckpointError,
        r"those of 2 layers, the last of them 1, where config\.json says num_hidden_layers 1",
    ),
    "no layers at all": (
        [],
        {"num_hidden_layers": 1},
        UnsupportedArchitecture,
        r"no tensor is named model\.layers\.0",
    ),
    "no number of layers": (
        [LAYER],
        {"num_hidden_layers": None},
        CheckpointError,
        r"config\.json has no num_hidden_layers; download it again",
    ),
    "figure that is no number": (
        [LAYER],
        {"head_dim": "8"},
        CheckpointError,
        r"config\.json: head_dim is '8', not a positive number; mend it",
    ),
    "heads that don't divide the rows": (
        [LAYER],
        {"num_attention_heads": 5},
        UnsupportedArchitecture,
        r"layer 0: self_attn\.q_proj\.weight has 48 rows, which num_attention_heads 5 doesn't",
    ),
    "head_dim that doesn't divide the rows": (
        [LAYER],
        {"head_dim": 7},
        UnsupportedArchitecture,
        r"q_proj \(48, 32\) and k_proj \(24, 32\) don't divide into heads of 7",
    ),
    "query heads that key heads don't divide": (
        [LAYER | {"self_attn.k_proj.weight": (32, 32), "self_attn.v_proj.weight": (32, 32)}],
        {"head_dim": 8},
        UnsupportedArchitecture,
        r"q_proj \(48, 32\) and k_proj \(32, 32\) don't divide",
    ),
    "packed projection": (
        [LAYER | {"self_attn.k_proj.weight": (384,)}],
        {"head_dim": 8},
        UnsupportedArchitecture,
        r"k_proj \(384,\) don't divide",
    ),
    "shapes that don't fit together": (
        [LAYER | {"self_attn.o_proj.weight": (32, 40), "mlp.gate_proj.bias": (23,)}],
        {},
        UnsupportedArchitecture,
        r"self_attn\.o_proj\.weight is \(32, 40\), not \(32, 48\); mlp\.gate_proj\.bias is \(23,\)",
    ),
    "config of another model": (
        [LAYER],
        {"intermediate_size": 32},
        CheckpointError,
        r"mlp\.up_proj\.weight makes intermediate_size 24, where config\.json says 32",
    ),
    "key/value heads of another model": (
        [LAYER],
        {"num_key_value_heads": 6},
        CheckpointError,
        r"k_proj\.weight makes num_key_value_heads 3, where config\.json says 6",
    ),
    "layers described in no known way": (
        [LAYER],
        {"per_layer_config": {"first": {}}},
        CheckpointError,
        r"per_layer_config is no mapping of layer numbers",
    ),
}


@pytest.mark.parametrize(("layers", "config", "error", "text"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_checkpoint_is_refused_with_what_was_found(
    layers: list[Shapes], config: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The message names the layer, the tensor or the key, and what to do."""
    with pytest.raises(error, match=text):
        read(layers, **config)


def test_norms_that_span_all_heads_are_refused() -> None:
    """In a family whose norms are of one head each: the checkpoint is of another architecture."""
    spanning = {"self_attn.q_norm.weight": (48,), "self_attn.k_norm.weight": (24,)}
    with pytest.raises(
        UnsupportedArchitecture, match=r"q_norm\.weight is \(48,\).*spans all heads"
    ):
        read([LAYER | spanning], NORMS_OF_HEADS)


def test_norms_of_heads_are_needed_where_the_family_has_them() -> None:
    """A Qwen3 layer without its q/k norms is a damaged one."""
    assert read([LAYER | QUERY_KEY_NORMS], NORMS_OF_HEADS)
    with pytest.raises(CheckpointError, match=r"self_attn\.q_norm\.weight: not in the checkpoint"):
        read([LAYER], NORMS_OF_HEADS)


FUSED_LAYER: Shapes = {
    "self_attn.qkv_proj.weight": (96, 32),
    "self_attn.o_proj.weight": (32, 48),
    "mlp.gate_up_proj.weight": (48, 32),
    "mlp.down_proj.weight": (32, 24),
    "input_layernorm.weight": (32,),
    "post_attention_layernorm.weight": (32,),
}


def test_blocks_of_fused_projections_are_told_apart() -> None:
    """48 rows of queries and twice 24 of keys and values; 24 of gate and of up."""
    [layer] = read([FUSED_LAYER], LayerForm(projections=FUSED_PROJECTIONS))
    assert (layer.head_dim, layer.query_heads_per_group) == (8, 2)
    assert layer.groups == {"attention": 3, "mlp": 24}


FUSED_WRONGLY: dict[str, tuple[Shapes, str]] = {
    "no whole heads": (
        {"self_attn.qkv_proj.weight": (92, 32)},
        r"layer 0: o_proj \(32, 48\) and qkv_proj \(92, 32\) don't divide into heads of 8",
    ),
    "queries alone": (
        {"self_attn.qkv_proj.weight": (48, 32)},
        r"o_proj \(32, 48\) and qkv_proj \(48, 32\) don't divide into heads of 8",
    ),
    "half a channel": (
        {"mlp.gate_up_proj.weight": (49, 32)},
        r"mlp\.gate_up_proj\.weight is \(49, 32\), not \(48, 32\)",
    ),
    "heads that the config counts otherwise": (
        {"self_attn.o_proj.weight": (32, 45)},
        r"self_attn\.o_proj\.weight has 45 columns, which num_attention_heads 6 doesn't divide",
    ),
    "projections apart": (
        {"mlp.gate_proj.weight": (24, 32)},
        r"mlp\.gate_proj\.weight: not a tensor of this architecture; projections fused otherwise",
    ),
}


@pytest.mark.parametrize(("change", "text"), FUSED_WRONGLY.values(), ids=FUSED_WRONGLY)
def test_fused_projections_that_make_no_sense_are_refused(change: Shapes, text: str) -> None:
    """By the names of what was measured."""
    with pytest.raises(UnsupportedArchitecture, match=text):
        read([FUSED_LAYER | change], LayerForm(projections=FUSED_PROJECTIONS))


def test_norms_over_heads_have_the_size_of_all_heads() -> None:
    """In a family that has such norms (OLMo 2), one of a head's size is wrong."""
    form = LayerForm(query_key_norms=ACROSS_HEADS)
    spanning: Shapes = {"self_attn.q_norm.weight": (48,), "self_attn.k_norm.weight": (24,)}
    assert read([LAYER | spanning], form)
    with pytest.raises(UnsupportedArchitecture, match=r"k_norm\.weight is \(8,\), not \(24,\)"):
        read([LAYER | spanning | {"self_attn.k_norm.weight": (8,)}], form)
