"""How many tokens the attention of each layer sees, as its config class and its cache have it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CONFIGS, MIXTURES, random_ids, tiny_config, tiny_model
from uneven_models import save_uneven

from globalprune.errors import CheckpointError
from globalprune.models.configs.class_config import attention_windows

LAYERS = {"num_hidden_layers": 4}


def windows_of(config: Any) -> tuple[int | None, ...]:
    """The windows of a config object, by way of its file."""
    return attention_windows(config.to_dict())


@pytest.mark.parametrize("family", CONFIGS | MIXTURES)
def test_windows_are_where_a_token_is_seen_no_more(family: str) -> None:
    """What the class says of each layer is what its cache holds behind a longer text."""
    model: Any = tiny_model(family)
    with torch.no_grad():
        cache = model(random_ids(1, 20), use_cache=True).past_key_values
    held = [layer.keys.shape[-2] for layer in cache.layers]

    found = windows_of(model.config)

    assert held == [20 if window is None else window - 1 for window in found]


@pytest.mark.parametrize(
    ("family", "said", "expected"),
    [
        ("mistral", {"sliding_window": 6}, (6, 6, 6, 6)),
        ("mistral", {"sliding_window": None}, (None,) * 4),
        ("mixtral", {"sliding_window": 6}, (6, 6, 6, 6)),
        ("phi3", {"sliding_window": None}, (None,) * 4),
        ("qwen2", {"sliding_window": 6}, (None,) * 4),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 3},
            (None, None, None, 6),
        ),
        (
            "qwen3",
            {
                "use_sliding_window": True,
                "sliding_window": 6,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
            },
            (6, None, 6, None),
        ),
        ("gemma2", {"sliding_window": 6}, (6, None, 6, None)),
        ("gemma3", {"sliding_window": 6, "sliding_window_pattern": 2}, None),
    ],
)
def test_every_way_to_say_it(
    family: str, said: dict[str, Any], expected: tuple[int | None, ...] | None
) -> None:
    """One window for all, kinds of layers, the number of the first; switches that are off."""
    found = windows_of(tiny_config(family, **said))

    kinds: Any = getattr(tiny_config(family, **said), "layer_types", None)
    assert found == (expected or tuple(6 if k == "sliding_attention" else None for k in kinds))


def test_a_layer_that_no_cache_can_be_built_for_is_refused_with_its_file(tmp_path: Path) -> None:
    """The config class takes a layer without heads; only its cache asks how many there are."""
    config = save_uneven(tmp_path, tiny_model("llama"), {0: {"attention": (0,)}}).config
    config["per_layer_config"]["0"]["num_attention_heads"] = None

    refused = r"config\.json: no cache can be built for its layers \(.*num_attention_heads"
    with pytest.raises(CheckpointError, match=refused):
        attention_windows(config, tmp_path)
