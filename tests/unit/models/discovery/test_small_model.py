"""A small model has all that a large one has, but for its size."""

import pytest
import torch
from met_models import met_config

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery.sizes import SIZES
from globalprune.models.discovery.small_model import random_ids, random_model, small_config


def test_every_kind_of_layer_is_in_the_small_config() -> None:
    """Of forty layers, those with rotary positions and those without are kept, in their order."""
    config = met_config(
        "smollm3", num_hidden_layers=40, no_rope_layers=[1, 1, 1, 0] * 10, layer_types=None
    )

    small = small_config(config, SIZES[0])

    assert small["num_hidden_layers"] == 4
    assert small["no_rope_layers"] == [1, 1, 1, 0]


def test_traits_stay_and_sizes_become_small() -> None:
    """A multiplier is a trait; a window becomes shorter than the texts."""
    config = met_config("granite", residual_multiplier=0.22, hidden_size=64)
    windowed = met_config("ministral", sliding_window=4096)

    assert small_config(config, SIZES[0])["residual_multiplier"] == 0.22
    assert small_config(config, SIZES[0])["hidden_size"] == SIZES[0].hidden_size
    assert small_config(windowed, SIZES[0])["sliding_window"] < random_ids(64).shape[1]


def test_a_model_is_drawn_again_from_the_same_seed() -> None:
    """Norms and biases too differ from their initial constants."""
    config = small_config(met_config("starcoder2"), SIZES[0])

    first, again, other = (dict(random_model(config, s).named_parameters()) for s in (0, 0, 1))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert first["model.layers.0.mlp.c_proj.bias"].abs().min() > 0
    assert {parameter.dtype for parameter in first.values()} == {torch.float64}


def test_a_model_that_stays_large_is_refused() -> None:
    """Its sizes stand under keys that aren't those of dense decoders."""
    config = small_config(met_config("llama"), SIZES[0]) | {"vocab_size": 10**6}

    with pytest.raises(UnsupportedArchitecture, match=r"still has .* parameters"):
        random_model(config, seed=0)
