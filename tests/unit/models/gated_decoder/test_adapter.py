"""What there is to cut in a gated decoder: groups, costs and the tensors they own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from shape_checkpoint import layer_shapes, shape_checkpoint
from tiny_models import FAMILIES, tiny_model

from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.gated_decoder.adapter import GatedDecoder
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
LLAMA = GatedDecoder("llama")


def structure_of(folder: Path) -> tuple[GatedDecoder, ModelStructure]:
    """Adapter and structure of a saved model."""
    checkpoint = open_checkpoint(resolve_model(str(folder)))
    adapter = adapter_for(checkpoint.config)
    assert isinstance(adapter, GatedDecoder)
    return adapter, adapter.structure(checkpoint)


def test_a_group_of_llama_3_8b_costs_what_its_tensors_say() -> None:
    """4 query heads and 1 key/value head of 128 on width 4096: 5,242,880, not the 6.29 M of old."""
    layer = layer_shapes(hidden=4096, heads=32, kv_heads=8, head_dim=128, width=14336)
    config = {"num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336}
    checkpoint = shape_checkpoint([layer] * 32, vocabulary=128_256, hidden=4096, **config)
    structure = LLAMA.structure(checkpoint)
    first = structure.layers[0]
    assert (first.attention.groups, first.attention.cost) == (8, 5_242_880)
    assert (first.mlp.groups, first.mlp.cost) == (14336, 12_288)
    assert (first.head_dim, first.query_heads_per_group) == (128, 4)
    assert structure.parameters == 8_030_261_248


@pytest.mark.parametrize(
    ("family", "groups", "attention", "mlp"),
    [
        ("llama", 4, (16 + 8 + 8 + 16) * 32, 3 * 32),
        ("llama_tied_bias", 2, (16 + 8 + 8 + 16) * 32 + 16 + 8 + 8, 3 * 32 + 2),
        ("llama_one_kv", 1, (32 + 8 + 8 + 32) * 32, 3 * 32),
        ("mistral", 3, (16 + 8 + 8 + 16) * 32, 3 * 32),
        ("qwen2", 3, (16 + 8 + 8 + 16) * 32 + 16 + 8 + 8, 3 * 32),
        ("qwen3", 3, (16 + 8 + 8 + 16) * 32, 3 * 32),
        ("phi3", 3, (16 + 8 + 8 + 16) * 32, 3 * 32),
    ],
)
def test_costs_agree_with_a_count_by_hand(
    tiny: Tiny, family: str, groups: int, attention: int, mlp: int
) -> None:
    """Biases count, output biases don't, and head_dim is not hidden / heads."""
    _, structure = structure_of(tiny(family))
    for layer in structure.layers:
        assert (layer.attention.groups, layer.attention.cost) == (groups, attention)
        assert (layer.mlp.groups, layer.mlp.cost) == (24, mlp)
        assert (layer.head_dim, layer.norms) == (8, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_counted_once(tiny: Tiny, family: str) -> None:
    """Groups, norms, what is shared and what is kept make up each layer; tied heads count once."""
    _, structure = structure_of(tiny(family))
    model = tiny_model(family)
    assert structure.parameters == sum(p.numel() for p in model.parameters())
    for index, layer in enumerate(structure.layers):
        sublayers = [layer.sublayer(kind) for kind in GROUP_TYPES]
        counted = (
            sum(sublayer.prunable + sublayer.shared + sublayer.kept for sublayer in sublayers)
            + layer.norms
        )
        own = model.get_submodule(f"model.layers.{index}").parameters()
        assert counted == sum(p.numel() for p in own)


@pytest.mark.parametrize("family", FAMILIES)
def test_axes_name_stored_tensors_that_the_groups_fill_exactly(tiny: Tiny, family: str) -> None:
    """Groups times width is the length of the dimension: every row and column has one owner."""
    adapter, structure = structure_of(tiny(family))
    for layer in structure.layers:
        for kind in GROUP_TYPES:
            axes = adapter.axes(layer, kind)
            assert {axis.tensor.split(".")[-1] for axis in axes} <= {"weight", "bias"}
            for axis in axes:
                assert axis.tensor.startswith(adapter.sublayer_prefix(kind))
                length = layer.tensors[axis.tensor][axis.dim]
                assert length == axis.width * layer.sublayer(kind).groups


def test_the_output_bias_belongs_to_no_group(tiny: Tiny) -> None:
    """It is kept by the sublayer, and no axis names it."""
    adapter, structure = structure_of(tiny("llama_tied_bias"))
    layer = structure.layers[0]
    assert (layer.attention.kept, layer.mlp.kept) == (32, 32)
    for kind in GROUP_TYPES:
        named = {axis.tensor for axis in adapter.axes(layer, kind)}
        assert f"{adapter.output_module(kind)}.bias" not in named
        assert f"{adapter.output_module(kind)}.weight" in named


def test_query_and_key_norms_are_shared_by_the_groups(tiny: Tiny) -> None:
    """They go with the last attention group, and count apart from the groups."""
    adapter, structure = structure_of(tiny("qwen3"))
    layer = structure.layers[0]
    names = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")
    assert adapter.shared_tensors(layer, "attention") == names
    assert adapter.shared_tensors(layer, "mlp") == ()
    assert layer.attention.shared == 16


def test_an_attention_with_norms_over_its_heads_is_fixed(tiny: Tiny) -> None:
    """Its groups are there and cost nothing, and all that it holds, norms too, is kept."""
    adapter, structure = structure_of(tiny("olmo2"))
    assert list(structure.fixed) == ["attention"]
    assert structure.prunable == 4 * 24 * 3 * 32
    for layer in structure.layers:
        attention = layer.attention
        assert (attention.groups, attention.candidates, attention.cost) == (3, 0, 0)
        assert (attention.shared, attention.kept) == (0, 32 * (48 + 24 + 24 + 48) + 48 + 24)
        assert (layer.mlp.groups, layer.mlp.candidates, layer.mlp.cost) == (24, 24, 3 * 32)
        assert adapter.shared_tensors(layer, "attention") == ()
    assert adapter.pre_norm("attention") is adapter.pre_norm("mlp") is None
    assert adapter.post_norm("mlp") == "post_feedforward_layernorm"


def test_an_emptied_sublayer_has_no_groups_and_keeps_its_output_bias() -> None:
    """A model that was cut before is read as it stands, empty sublayers included."""
    full = layer_shapes(hidden=32, heads=6, kv_heads=3, head_dim=8, width=24)
    no_attention = {name: shape for name, shape in full.items() if "self_attn" not in name}
    no_mlp = {name: shape for name, shape in full.items() if "mlp" not in name}
    no_mlp |= layer_shapes(hidden=32, heads=4, kv_heads=2, head_dim=8, width=0)
    no_mlp = {name: shape for name, shape in no_mlp.items() if "mlp" not in name}
    no_mlp["mlp.down_proj.bias"] = (32,)
    checkpoint = shape_checkpoint(
        [full, no_attention, no_mlp],
        vocabulary=260,
        hidden=32,
        head_dim=8,
        num_attention_heads=6,
        num_key_value_heads=3,
        intermediate_size=24,
        per_layer_config={
            "1": {"skip": ["attention"], "num_attention_heads": 1, "num_key_value_heads": 1},
            "2": {
                "skip": ["mlp"],
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 1,
            },
        },
    )
    layers = LLAMA.structure(checkpoint).layers
    assert [layer.attention.groups for layer in layers] == [3, 0, 2]
    assert [layer.mlp.groups for layer in layers] == [24, 24, 0]
    assert (layers[1].attention.cost, layers[2].mlp.cost, layers[2].mlp.kept) == (0, 0, 32)
    assert [layer.query_heads_per_group for layer in layers] == [2, 2, 2]
    assert LLAMA.axes(layers[1], "attention") == LLAMA.axes(layers[2], "mlp") == ()


def test_the_fingerprint_knows_the_geometry_and_not_the_vocabulary() -> None:
    """A finetune with added tokens has the structure of its base; one channel less has not."""

    def fingerprint(width: int, vocabulary: int) -> str:
        layer = layer_shapes(hidden=32, heads=4, kv_heads=2, head_dim=8, width=width)
        checkpoint = shape_checkpoint(
            [layer], vocabulary=vocabulary, hidden=32, num_attention_heads=4
        )
        return LLAMA.structure(checkpoint).fingerprint

    assert fingerprint(24, 260) == fingerprint(24, 300)
    assert fingerprint(24, 260) != fingerprint(23, 260)
