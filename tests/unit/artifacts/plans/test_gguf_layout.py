"""What stands in a GGUF file of a cut model: the form, the layers, and the zeros between them."""

from typing import Any

import pytest
from analyses import structure_of, traits_with

from globalprune.artifacts.plans.gguf_layout import GgufShape, gguf_shape
from globalprune.artifacts.plans.plan import LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.structure import ModelStructure

STRUCTURE = structure_of(((3, 4),) * 4)  # of two query heads a group, each of two numbers
QWEN_3 = traits_with("qwen3", tied_embeddings=True)


def shape_of(
    *sublayers: dict[str, str], traits: Any = None, structure: ModelStructure = STRUCTURE
) -> GgufShape:
    """The shape behind a plan that says this of the first layers."""
    layers = {
        index: LayerCuts.model_validate(sublayer)
        for index, sublayer in enumerate(sublayers)
        if sublayer
    }
    plan = PrunePlan(layers=layers, remove_empty_layers=False)
    found = gguf_shape(traits or traits_with(), structure, effect_of(plan, structure))
    assert found is not None
    return found


def test_layers_that_are_alike_have_the_familys_own_form() -> None:
    """Whichever groups each of them lost."""
    assert shape_of().form.architecture == "llama"
    assert shape_of(*({"mlp": str(layer)} for layer in range(4))).form.architecture == "llama"
    assert shape_of({"mlp": "1"}).form.architecture == "deci"
    assert shape_of(*({"mlp": "all"} for _ in range(4))).form.architecture == "deci"
    assert shape_of({"mlp": "1"}, traits=QWEN_3).form.architecture == "openelm"


def test_qwen2_must_be_as_wide_as_its_heads() -> None:
    """Its own form has no key for a narrower attention, and deci has."""
    whole, narrow = (traits_with("qwen2", hidden_size=size) for size in (12, 16))
    assert shape_of(traits=whole).form.architecture == "qwen2"
    assert shape_of(traits=narrow).form.architecture == "deci"


def test_what_may_not_be_empty_is_padded() -> None:
    """The first attention and every MLP in deci, every sublayer in openelm."""
    cuts = ({"attention": "all"}, {"attention": "all"}, {"mlp": "all"})
    assert [layer.padded for layer in shape_of(*cuts).layers] == [
        ("attention",), (), ("mlp",), ()
    ]  # fmt: skip
    assert [layer.padded for layer in shape_of(*cuts, traits=QWEN_3).layers] == [
        ("attention",), ("attention",), ("mlp",), ()
    ]  # fmt: skip
    assert [layer.groups for layer in shape_of(*cuts).layers] == [
        {"attention": 1, "mlp": 4},
        {"attention": 0, "mlp": 4},
        {"attention": 3, "mlp": 32},
        {"attention": 3, "mlp": 4},
    ]


def test_an_output_bias_needs_a_sublayer_to_stand_on() -> None:
    """Else it would be lost; so a layer that lost both sublayers stays, padded twice."""
    both = {"attention": "all", "mlp": "all"}
    biased = structure_of(((3, 4),) * 4, output_bias=12)
    shape = shape_of({}, both, structure=biased)

    assert [layer.padded for layer in shape.layers] == [(), ("attention", "mlp"), (), ()]


def test_a_layer_that_adds_nothing_is_left_out() -> None:
    """The next one is the first then."""
    shape = shape_of({"attention": "all", "mlp": "all"}, {"attention": "all"})

    assert [layer.layer_idx for layer in shape.layers] == [1, 2, 3]
    assert [layer.padded for layer in shape.layers] == [("attention",), (), ()]


@pytest.mark.parametrize("traits", [traits_with(), QWEN_3], ids=["deci", "openelm"])
def test_padding_is_counted_and_told(traits: Any) -> None:
    """One group of zeros: rows of q and columns of o, k and v; 32 channels of gate, up and down."""
    shape = shape_of({"attention": "all"}, {}, {"mlp": "all"}, {"mlp": "all"}, traits=traits)
    attention, mlp = 12 * 2 * (2 + 1) * 2, 12 * 32 * 3

    assert shape.padding(12) == attention + 2 * mlp
    (told,) = shape.padding_notes(12)
    assert told == (
        "the attention of layer 0 and the MLP of layers 2-3: empty, which llama.cpp's "
        f"{shape.form.architecture} can't hold; gp export pads with zeros, "
        f"{attention + 2 * mlp:,} parameters."
    )
    assert list(shape_of({"mlp": "1"}, traits=traits).padding_notes(12)) == []
