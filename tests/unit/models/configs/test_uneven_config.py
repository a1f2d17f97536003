"""What a cut writes into config.json, and what that means to loaders old and new."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import FAMILIES, random_ids, tiny_config, tiny_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from uneven_models import Cut, masked, save_uneven

from globalprune.models.configs.uneven_config import is_uneven, native_config
from globalprune.models.loading import load_model

CUTS: dict[str, Cut] = {
    "attention of two layers": {0: {"attention": ()}, 2: {"attention": ()}},
    "every attention": {layer: {"attention": ()} for layer in range(4)},
    "one MLP": {2: {"mlp": ()}},
    "every MLP": {layer: {"mlp": ()} for layer in range(4)},
    "both, in different layers": {0: {"attention": ()}, 2: {"mlp": ()}},
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_loader_that_ignores_per_layer_config_stops_at_a_shape(
    tmp_path: Path, family: str, name: str
) -> None:
    """Transformers before 5.15 would else fill the emptied halves with random weights."""
    save_uneven(tmp_path, tiny_model(family), CUTS[name])
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("per_layer_config", "auto_map"):
        del config[key]
    native: Any = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    with torch.device("meta"):
        expected = AutoModelForCausalLM.from_config(native).state_dict()
    stored = load_file(tmp_path / "model.safetensors")

    assert any(expected[name].shape != tensor.shape for name, tensor in stored.items())


@pytest.mark.parametrize("name", CUTS)
def test_sizes_that_are_wrong_on_purpose_change_no_logit(tmp_path: Path, name: str) -> None:
    """Each layer has its own sizes, so that the whole model's are never used."""
    save_uneven(tmp_path, tiny_model("llama"), CUTS[name])
    ids = random_ids(2, 9)
    with torch.no_grad():
        found = load_model(tmp_path, dtype=torch.float64)(ids).logits
        expected = masked(tiny_model("llama"), CUTS[name]).double()(ids).logits

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


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


def test_code_in_the_base_models_folder_is_not_asked_for() -> None:
    """It doesn't travel, so no entry may name it, and no null may stand there."""
    from uneven_models import effect_of_cut, structure_of

    from globalprune.models.configs.uneven_config import write_layer_shapes

    model = tiny_model("llama")
    structure = structure_of(model)
    for auto_map in ({"AutoConfig": "configuration_foo.Foo"}, None):
        raw = json.loads(model.config.to_json_string()) | {"auto_map": auto_map}
        even: Cut = {layer: {"mlp": tuple(range(8))} for layer in range(4)}
        edit = write_layer_shapes(raw, structure, effect_of_cut(structure, even))
        assert "auto_map" not in edit.config


@pytest.mark.parametrize("dtype", ["float32x", "", []])
def test_settings_of_another_run_decide_no_size(dtype: Any) -> None:
    """A class would end in an error of its own where it reads one."""
    config = tiny_config("llama").to_dict() | {"dtype": dtype, "use_cache": "all"}

    assert native_config(config).hidden_size == 32


@pytest.mark.parametrize("names", [5, "LlamaForCausalLM", [5], None])
def test_architectures_that_are_no_names_are_left_out(names: Any) -> None:
    """A cut that the native format has words for is written without them."""
    from uneven_models import effect_of_cut, structure_of

    from globalprune.models.configs.uneven_config import write_layer_shapes

    model = tiny_model("llama")
    structure = structure_of(model)
    narrower: Cut = {layer: {"mlp": tuple(range(8))} for layer in range(4)}
    raw = json.loads(model.config.to_json_string()) | {"architectures": names}

    edit = write_layer_shapes(raw, structure, effect_of_cut(structure, narrower))

    assert edit.config.get("architectures", []) == []
