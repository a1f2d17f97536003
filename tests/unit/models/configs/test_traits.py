"""Traits come from the architecture's own reading of config.json, and its rules are ours."""

from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny_models import tiny_config
from transformers import CONFIG_MAPPING

from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS
from globalprune.artifacts.plans.runtimes import DIVIDED_BY_HEADS, stock_attention
from globalprune.models.configs.traits import traits_of
from globalprune.models.registry import ADAPTERS


def test_what_a_config_leaves_out_is_what_its_class_says() -> None:
    """A config.json of a few keys; a rope type and a window are seen."""
    few = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}
    assert traits_of(few).model_dump() == {
        "model_type": "llama",
        "hidden_size": 64,
        "tied_embeddings": False,
        "sliding_window": False,
        "rope_type": "default",
        "activation": "silu",
        "layer_kinds": ("full", "full"),
    }
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}
    assert traits_of(few | {"rope_parameters": rope}).rope_type == "yarn"
    assert traits_of({"model_type": "mistral", "sliding_window": 64}).sliding_window
    assert not traits_of({"model_type": "mistral", "sliding_window": None}).sliding_window
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
    assert traits_of({"model_type": "qwen2", **window}).sliding_window
    assert traits_of(tiny_config("llama_tied_bias").to_dict()).tied_embeddings


def test_forms_in_llama_cpp_are_of_families_that_we_cut() -> None:
    """Those that are in no such table are refused there by name."""
    assert set(GGUF_FORMS) < set(ADAPTERS)


@pytest.mark.parametrize("family", sorted({*ADAPTERS, "gemma2", "gemma3_text"}))
def test_which_configs_divide_by_their_heads(family: str) -> None:
    """Ask the real class for a hidden size that the heads don't divide."""
    config = CONFIG_MAPPING[family]
    shape: Any = {
        "hidden_size": 32,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 8,
    }
    if family in DIVIDED_BY_HEADS:
        with pytest.raises(StrictDataclassError, match="multiple of the number of attention heads"):
            config(**shape)
    else:
        config(**shape)


@pytest.mark.parametrize("groups", range(1, 5))
def test_phi3_counts_the_factors_of_long_rope_by_its_heads(groups: int) -> None:
    """Ask the real class, whose own 4 groups of 2 heads on a width of 64 make 8 / 2 factors."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    shape: dict[str, Any] = {
        "hidden_size": 64,
        "head_dim": 8,
        "rope_parameters": rope,
        "original_max_position_embeddings": 64,
    }
    whole = {"model_type": "phi3", "num_attention_heads": 8, "num_key_value_heads": 4, **shape}
    cut = {**shape, "num_attention_heads": 2 * groups, "num_key_value_heads": groups}
    if groups in stock_attention(traits_of(whole), 4, 2):
        CONFIG_MAPPING["phi3"](**cut)
    else:
        with pytest.raises(StrictDataclassError, match="short_factor field must have length"):
            CONFIG_MAPPING["phi3"](**cut)
