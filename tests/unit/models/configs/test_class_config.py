"""What a config.json says of how to answer is left out, and what is wrong with it is told of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny

from globalprune.errors import ModelError
from globalprune.models.loading import load_model
from globalprune.models.meta_model import empty_model
from globalprune.models.tokenizer import load_tokenizer

IDS = torch.arange(20)[None]
OF_ANOTHER_RUN: list[dict[str, Any]] = [
    {"return_dict": False, "use_return_dict": False, "torchscript": True},
    {"output_hidden_states": True, "output_attentions": True, "use_cache": False},
    {"_attn_implementation": "flash_attention_2", "experts_implementation": "none known"},
    {"attn_implementation": 5, "_attn_implementation_internal": "flex_attention"},
    {"dtype": "fp8", "torch_dtype": {"of": "its own"}},
    {"auto_map": ["none"], "torch_dtype": "int8"},
    {"num_labels": 10**9, "problem_type": "regression", "pruned_heads": {"0": [0]}},
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"layer_types": ["none known"] * 4}, "layer_types"),
    ({"rms_norm_eps": "small"}, "rms_norm_eps"),
    ({"bos_token_id": "<s>"}, "bos_token_id"),
    ({"model_type": "none"}, "model_type is 'none'"),
    ({"model_type": {"none": 1}}, "model_type is {'none': 1}"),
    ({"is_causal": False}, "is_causal is false"),
    ({"use_bidirectional_attention": True}, "use_bidirectional_attention is true"),
]


def changed(folder: Path, settings: dict[str, Any]) -> Path:
    """The folder, whose config.json says this, too."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain model."""
    return save_tiny(tmp_path_factory.mktemp("model"), "llama")


@pytest.mark.parametrize("settings", OF_ANOTHER_RUN, ids=lambda settings: next(iter(settings)))
def test_settings_of_another_run_change_nothing(
    tmp_path: Path, model: Path, settings: dict[str, Any]
) -> None:
    """Kernels, tuples and labels that a config.json asks for leave outputs and classes alone."""
    plain, folder = load_model(model)(IDS), changed(save_tiny(tmp_path, "llama"), settings)

    loaded = load_model(folder)
    answer = loaded(IDS)

    assert torch.equal(answer.logits, plain.logits)
    assert answer.keys() == plain.keys()
    assert loaded.config._attn_implementation == "sdpa"
    assert load_tokenizer(folder).eos_token_id == load_tokenizer(model).eos_token_id
    assert not empty_model(json.loads((folder / "config.json").read_text())).training


@pytest.mark.parametrize(("settings", "told"), WRONG, ids=lambda of: str(of)[:30])
def test_a_fault_of_the_config_is_told_as_its_own(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    """Model and tokenizer name config.json and its key, never the tokenizer."""
    folder = changed(save_tiny(tmp_path, "llama"), settings)

    with pytest.raises(ModelError, match=told) as refused:
        load_model(folder)
    assert "config.json" in str(refused.value)
    if "model_type" in settings:  # a class of its own may have a plain tokenizer
        load_tokenizer(folder)
        return
    with pytest.raises(ModelError, match=told) as refused:
        load_tokenizer(folder)
    assert "config.json" in str(refused.value)
    assert "tokenizer" not in str(refused.value)
