"""What a config.json means, with what its class adds to it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from met_models import met_config
from tiny_models import tiny_config
from transformers import CONFIG_MAPPING

from globalprune.artifacts.plans.runtime_compatibility import stock_attention
from globalprune.models.configs.class_config import class_config
from globalprune.models.configs.native_config import (
    copy_of,
    is_uneven,
    layer_kinds,
    native_config,
    traits_of,
)
from globalprune.models.registry import ADAPTERS


@pytest.mark.parametrize(
    ("config", "uneven"),
    [
        ({}, False),
        ({"per_layer_config": {"0": {"intermediate_size": 3}}}, True),
        ({"per_layer_config": {"0": {}}, "auto_map": {"AutoModelForCausalLM": "their.Own"}}, False),
        (
            {
                "per_layer_config": {"0": {}},
                "auto_map": {"AutoModelForCausalLM": "me/repo--modeling_globalprune.PrunedX"},
            },
            True,
        ),
        ({"per_layer_config": {"0": {}}, "auto_map": None}, True),
    ],
    ids=["plain", "no auto_map", "another's file", "from the Hub", "null"],
)
def test_a_result_is_known_by_what_it_says_of_its_layers(
    config: dict[str, Any], uneven: bool
) -> None:
    """Whatever became of auto_map on the way, unless it names another's file."""
    assert is_uneven(config) is uneven


@pytest.mark.parametrize("dtype", ["float32x", "", []])
def test_settings_of_another_run_decide_no_size(dtype: Any) -> None:
    """A class would end in an error of its own where it reads one."""
    config = tiny_config("llama").to_dict() | {"dtype": dtype, "use_cache": "all"}

    assert native_config(config).hidden_size == 32


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


def test_kinds_are_read_from_what_the_class_makes_of_it() -> None:
    """Whether a config says it in a list, by a number, or not at all."""
    assert layer_kinds(tiny_config("llama")) == ("full",) * 4
    assert layer_kinds(tiny_config("smollm3")) == ("full", "no_rope", "full", "full")
    assert layer_kinds(tiny_config("gemma2")) == ("sliding", "full") * 2
    assert layer_kinds(tiny_config("phi3")) == ("sliding",) * 4


@pytest.mark.parametrize(
    ("model_type", "divide"),
    [("arcee", True), ("helium", False), ("mistral", False), ("llama", False)],
)
def test_the_class_says_whether_its_heads_divide_the_hidden_size(
    model_type: str, divide: bool
) -> None:
    """Of types that no table knows; Llama is in the table."""
    assert traits_of(met_config(model_type)).heads_divide_hidden_size is divide


def test_a_type_whose_heads_divide_its_width_keeps_as_many_as_it_takes() -> None:
    """Three of four heads don't divide 32."""
    assert stock_attention(traits_of(met_config("arcee")), 4, 1) == [1, 2, 4]
    assert stock_attention(traits_of(met_config("helium")), 4, 1) == [1, 2, 3, 4]


@pytest.mark.parametrize("model_type", sorted(ADAPTERS))
def test_traits_of_the_table_say_nothing_new(model_type: str) -> None:
    """Records of its types stay what they were."""
    assert "heads_divide_hidden_size" not in traits_of(met_config(model_type)).model_dump()


def test_numbers_that_json_lacks_are_read_as_transformers_writes_them(tmp_path: Path) -> None:
    """A config of Falcon-H1 has such a limit; the raw config keeps its spelling."""
    CONFIG_MAPPING["falcon_h1"]().save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text("utf-8"))

    assert raw["time_step_limit"] == [0.0, {"__float__": "Infinity"}]
    assert native_config(raw).time_step_limit == class_config(raw).time_step_limit
    assert list(native_config(raw).time_step_limit) == [0.0, math.inf]
    assert raw["time_step_limit"] == [0.0, {"__float__": "Infinity"}]


@pytest.mark.parametrize("value", [{"__float__": "one"}, {"__float__": "NaN", "b": 1}, [], 0.5])
def test_what_only_looks_like_such_a_number_is_copied(value: object) -> None:
    """Nothing is taken for a number that isn't one."""
    assert copy_of(value) == value
