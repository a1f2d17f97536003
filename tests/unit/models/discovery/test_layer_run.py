"""How layers join the residual stream is read off the values that pass."""

from typing import Any

import pytest
import torch
from met_models import met_config

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery.double_arithmetic import DoubleArithmetic
from globalprune.models.discovery.layer_run import (
    Composition,
    composition_of,
    find_layers,
    run_layers,
)
from globalprune.models.discovery.sizes import SIZES
from globalprune.models.discovery.small_model import random_ids, random_model, small_config
from globalprune.models.meta_model import empty_model


def composition(model_type: str, **overrides: Any) -> Composition:
    """That of the first layer of a small model of the type."""
    config = small_config(met_config(model_type, **overrides), SIZES[0])
    with DoubleArithmetic():
        return composition_of(run_layers(random_model(config, 0), random_ids(64))[0])


def test_norms_are_found_before_and_behind_the_sublayers() -> None:
    """Glm4 has four; EXAONE 4 has two, behind."""
    assert composition("glm4") == Composition(
        {"attention": "input_layernorm", "mlp": "post_attention_layernorm"},
        {"attention": "post_self_attn_layernorm", "mlp": "post_mlp_layernorm"},
        None,
    )
    assert composition("exaone4").before == {}


def test_the_attribute_that_scales_the_updates_is_found() -> None:
    """Granite multiplies what both sublayers add."""
    scaled = composition("granite", residual_multiplier=0.22)

    assert scaled.residual_scale == "residual_multiplier"


def test_attention_beside_the_mlp_is_refused() -> None:
    """Cohere's MLP reads what its attention reads."""
    with pytest.raises(UnsupportedArchitecture, match="stand side by side"):
        composition("cohere")


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("mixtral", "layer 0 has a mixture of experts in place of an MLP"),
        ("qwen3_next", "layer 0 has no self_attn"),
        ("opt", r"not called model\.layers \(model\.decoder\.layers\)"),
        ("jamba", "layer 0 has no self_attn and no mlp"),
    ],
)
def test_layers_of_another_kind_are_refused_without_weights(model_type: str, reason: str) -> None:
    """What they have instead is named."""
    with pytest.raises(UnsupportedArchitecture, match=reason):
        find_layers(empty_model({"model_type": model_type, "num_hidden_layers": 2}))


def test_a_cut_model_can_be_run_twice() -> None:
    """No hook stays behind."""
    model = random_model(small_config(met_config("llama"), SIZES[0]), 0)
    ids = random_ids(64)

    first, second = (run_layers(model, ids)[0].layer.output for _ in range(2))

    assert torch.equal(first, second)
    assert not any(module._forward_hooks for module in model.modules())
