"""What a cut writes into config.json, and what that means to loaders old and new."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from tiny_models import FAMILIES, random_ids, save_tiny, tiny_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from uneven_models import Cut, effect_of_cut, masked, save_uneven, structure_of

from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS
from globalprune.artifacts.plans.runtime_compatibility import DIVIDED_BY_HEADS, stock_attention
from globalprune.models.configs.native_config import traits_of
from globalprune.models.configs.pruned_config import prune_config
from globalprune.models.loading import load_model
from globalprune.models.registry import ADAPTERS

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
    """Transformers before 5.15 would else fill the emptied sublayers with random weights."""
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


def test_code_in_the_base_models_folder_is_not_asked_for() -> None:
    """It doesn't travel, so no entry may name it, and no null may stand there."""
    model = tiny_model("llama")
    structure = structure_of(model)
    for auto_map in ({"AutoConfig": "configuration_foo.Foo"}, None):
        raw = json.loads(model.config.to_json_string()) | {"auto_map": auto_map}
        even: Cut = {layer: {"mlp": tuple(range(8))} for layer in range(4)}
        edit = prune_config(raw, structure, effect_of_cut(structure, even))
        assert "auto_map" not in edit.config


@pytest.mark.parametrize("names", [5, "LlamaForCausalLM", [5], None])
def test_architectures_that_are_no_names_are_left_out(names: Any) -> None:
    """A cut that the native format has words for is written without them."""
    model = tiny_model("llama")
    structure = structure_of(model)
    narrower: Cut = {layer: {"mlp": tuple(range(8))} for layer in range(4)}
    raw = json.loads(model.config.to_json_string()) | {"architectures": names}

    edit = prune_config(raw, structure, effect_of_cut(structure, narrower))

    assert edit.config.get("architectures", []) == []


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


WHOLE = {"attention": range(6), "mlp": range(24)}
BY_NUMBER: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "rope interval": (
        "smollm3",
        {"no_rope_layers": None, "no_rope_layer_interval": 2},
        ("no_rope_layers", "layer_types"),
    ),
    "window pattern": ("gemma3", {"layer_types": None, "sliding_window_pattern": 3}, ()),
    "every other": ("gemma2", {"layer_types": None}, ("layer_types",)),
    "first windows": (
        "qwen3",
        {"layer_types": None, "use_sliding_window": True, "sliding_window": 4}
        | {"max_window_layers": 2},
        (),
    ),
    "dense by step": ("qwen3_moe", {"mlp_only_layers": [], "decoder_sparse_step": 2}, ()),
}


@pytest.mark.parametrize("name", BY_NUMBER)
def test_a_layer_keeps_what_it_is(tmp_path: Path, name: str) -> None:
    """The cut model is the original whose dropped layer adds nothing."""
    family, said, silent = BY_NUMBER[name]
    folder = save_tiny(tmp_path / "m", family, **said)
    config = folder / "config.json"
    if silent:
        raw = {k: v for k, v in json.loads(config.read_text()).items() if k not in silent}
        config.write_text(json.dumps(raw | {k: v for k, v in said.items() if v is not None}))
    whole: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    layer = whole.model.layers[1]
    groups = whole.config.num_key_value_heads
    channels = 24
    if hasattr(layer.mlp, "experts"):
        channels = layer.mlp.experts.down_proj.shape[0] * layer.mlp.experts.down_proj.shape[2]
    cut = applied(folder, tmp_path, {1: {"attention": range(groups), "mlp": range(channels)}})
    ids = random_ids(1, 16)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        torch.testing.assert_close(
            load_model(cut.out)(ids).logits, whole(ids).logits, rtol=0, atol=2e-5
        )
