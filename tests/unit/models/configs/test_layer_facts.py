"""What a layer is by its number stays with it when others go, in every family that counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied
from tiny_models import random_ids, save_tiny, tiny_config
from transformers import AutoModelForCausalLM

from globalprune.models.configs.layer_facts import layer_kinds
from globalprune.models.loading import load_model

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
        import json

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


def test_kinds_are_read_from_what_the_class_makes_of_it() -> None:
    """Whether a config says it in a list, by a number, or not at all."""
    assert layer_kinds(tiny_config("llama")) == ("full",) * 4
    assert layer_kinds(tiny_config("smollm3")) == ("full", "no_rope", "full", "full")
    assert layer_kinds(tiny_config("gemma2")) == ("sliding", "full") * 2
    assert layer_kinds(tiny_config("phi3")) == ("sliding",) * 4
