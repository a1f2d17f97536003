"""The fingerprint of a structure: what it must tell apart, and what it must not."""

import pytest
from artifact_values import layer_of, structure_of

from globalprune.artifacts.structure import LayerStructure, ModelStructure

GQA = {"query_heads_per_group": 4}
SHAPES = {"tensors": {"mlp.down_proj.weight": (9, 24)}}


def test_a_larger_vocabulary_is_the_same_structure() -> None:
    """A finetune with added tokens takes the plan of its base."""
    base = structure_of()
    grown = ModelStructure(layers=base.layers, parameters=base.parameters + 64)
    assert grown.fingerprint == base.fingerprint


@pytest.mark.parametrize(
    "layer",
    [
        layer_of(attention=3),
        layer_of(mlp=23),
        layer_of(kept=8),
        layer_of().model_copy(update=GQA),
        layer_of().model_copy(update=SHAPES),
    ],
    ids=["heads", "channels", "bias", "head mapping", "tensor shapes"],
)
def test_another_geometry_is_another_structure(layer: LayerStructure) -> None:
    """Else a plan's indices would name other tensors than were measured."""
    base = structure_of()
    other = structure_of(*base.layers[:-1], layer)
    assert other.fingerprint != base.fingerprint


def test_layers_in_another_order_are_another_structure() -> None:
    """The same layers elsewhere in the model are not the same decisions."""
    narrow, wide = layer_of(mlp=8), layer_of(mlp=24)
    assert structure_of(narrow, wide).fingerprint != structure_of(wide, narrow).fingerprint


def test_every_sublayer_is_walked_in_the_order_of_ties() -> None:
    """Layer first, then attention before MLP; the prunable parameters are their sum."""
    structure = structure_of(layer_of(4, 24), layer_of(2, 8))
    walked = [(layer, kind, sublayer.groups) for layer, kind, sublayer in structure.sublayers()]
    assert walked == [(0, "attention", 4), (0, "mlp", 24), (1, "attention", 2), (1, "mlp", 8)]
    assert structure.prunable == 6 * 100 + 32 * 10
