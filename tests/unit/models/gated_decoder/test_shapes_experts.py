"""The widths of experts, read with suspicion."""

from collections.abc import Mapping
from typing import Any

import pytest

from globalprune.errors import CheckpointError
from globalprune.models.configs.config import ConfigSizes
from globalprune.models.gated_decoder.form import MixtureOfExperts
from globalprune.models.gated_decoder.shapes import read_experts

CONFIG: dict[str, Any] = {
    "hidden_size": 16,
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 4,
}
MIXTURE = MixtureOfExperts()
REST = {"self_attn.q_proj.weight": (16, 16)}


def tensors(*widths: int) -> dict[str, tuple[int, ...]]:
    """A layer whose experts are so wide."""
    return REST | MIXTURE.shapes(widths, 16)


def read(layer: Mapping[str, tuple[int, ...]], **own: Any) -> Any:
    """What is read of layer 5, of which the config says `own`."""
    config = CONFIG | ({"per_layer_config": {"5": own}} if own else {})
    return read_experts(MIXTURE, layer, ConfigSizes(config, "M"), 5)


def test_experts_are_taken_out_of_a_layer() -> None:
    """Their widths, how many a token meets, and what else there is."""
    found = read(tensors(4, 4, 4))
    assert (found.widths, found.chosen, found.other_tensors) == ((4, 4, 4), 2, REST)


def test_a_layer_without_a_router_has_none() -> None:
    """It is read as any other."""
    found = read(REST)
    assert (found.widths, found.other_tensors) == ((), REST)
    assert read_experts(None, REST, ConfigSizes(CONFIG, "M"), 5).widths == ()


def test_widths_that_differ_are_those_that_the_config_lists() -> None:
    """An expert of no width has no tensors."""
    found = read(tensors(4, 0, 1), moe_intermediate_size=1, expert_widths=[4, 0, 1])
    assert found.widths == (4, 0, 1)
    axes = MIXTURE.axes(found.widths)
    assert [axis.first for axis in axes] == [0, 0, 0, 4, 4, 4]
    assert MIXTURE.output_modules(found.widths) == (
        "mlp.experts.0.down_proj",
        "mlp.experts.2.down_proj",
    )


@pytest.mark.parametrize(
    ("layer", "own", "message"),
    [
        (tensors(4, 0, 4), {}, "M: layer 5: the tensors are those of experts with 4, 0, 4 chann"),
        (tensors(4, 3, 4), {"expert_widths": [4, 4, 4]}, "config.json says 4; use the config"),
        (
            tensors(4, 4, 4) | {"mlp.experts.1.gate_proj.weight": (3, 16)},
            {},
            r"mlp.experts.1.gate_proj.weight is \(3, 16\), not \(4, 16\)",
        ),
        (
            tensors(4, 4, 4) | {"mlp.gate.weight": (4, 16)},
            {},
            r"mlp.gate.weight is \(4, 16\), not \(3, 16\)",
        ),
        (
            {n: s for n, s in tensors(4, 4, 4).items() if n != "mlp.experts.2.down_proj.weight"},
            {},
            r"mlp.experts.2.down_proj.weight is missing, not \(16, 4\)",
        ),
    ],
    ids=["one is missing", "other widths", "a gate too narrow", "another router", "no down"],
)
def test_what_does_not_fit_is_named(layer: Any, own: dict[str, Any], message: str) -> None:
    """With the layer, the tensor, and what it should be."""
    with pytest.raises(CheckpointError, match=message):
        read(layer, **own)


def test_modules_are_stored_under_other_names_in_mixtral() -> None:
    """What the loaded model calls them."""
    mixture = MixtureOfExperts("block_sparse_moe.", "w1", "w3", "w2", "intermediate_size")
    assert mixture.module_name("block_sparse_moe.experts.3.w2") == "mlp.experts.3.w2"
    assert mixture.module_name("self_attn.o_proj") == "self_attn.o_proj"
