"""Phi's long rope has as many factors as the heads that the model had ask for; a cut keeps them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied
from cutting import Removals, what_stays
from tiny_models import random_ids, save_tiny, tiny_model
from uneven_models import masked

from globalprune.models.loading import load_model

SHAPE: dict[str, Any] = {
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "hidden_size": 48,
    "original_max_position_embeddings": 8,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.1, 1.2],
        "long_factor": [2.0, 2.2, 3.0],
    },
}
EVERY_LAYER: Removals = {layer: {"attention": [1]} for layer in range(4)}
FIRST_LAYER: Removals = {0: {"attention": [0, 1, 2]}, 1: {"attention": [2], "mlp": [3]}}


def as_published(folder: Path) -> Path:
    """A tiny Phi whose config.json leaves out the size of a head, and calls the rest `su`."""
    save_tiny(folder, "phi3", **SHAPE)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["head_dim"]
    rope = config.pop("rope_parameters")
    config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = {**rope, "type": "su", "rope_type": "su"}
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("gone", [EVERY_LAYER, FIRST_LAYER], ids=["every layer", "first layers"])
def test_fewer_heads_leave_the_positions_as_they_were(tmp_path: Path, gone: Removals) -> None:
    """On both sides of the length from which on the long factors hold."""
    result = applied(as_published(tmp_path / "base"), tmp_path, gone)
    expected = masked(tiny_model("phi3", **SHAPE), what_stays("phi3", gone))
    found = load_model(result.out, dtype=torch.float32)
    for length in (7, 20):
        ids = random_ids(2, length)
        with torch.no_grad():
            torch.testing.assert_close(found(ids).logits, expected(ids).logits)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["head_dim"], config["architectures"]) == (8, ["PrunedPhi3ForCausalLM"])
