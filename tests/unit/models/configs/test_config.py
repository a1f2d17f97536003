"""A config.json that no model can have is refused at once, by the key at fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from globalprune.errors import CheckpointError
from globalprune.models.configs.config import read_config, write_config


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "holds no JSON object"),
        ("[" * 100_000, "brackets within brackets, too deep"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, not a positive number"),
        ({"vocab_size": 10**15}, "vocab_size is 1000000000000000, not"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, not"),
        ({"num_key_value_heads": -1}, "num_key_value_heads is -1, not"),
        ({"hidden_size": "32"}, "hidden_size is '32', not"),
        ({"head_dim": True}, "head_dim is True, not"),
        ({"intermediate_size": 24.0}, r"intermediate_size is 24\.0, not"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "num_experts_per_tok is 5, more than its 4"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan, no finite number"),
        ({"rope_scaling": {"factor": float("inf")}}, r"rope_scaling\.factor is inf, no finite"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false', neither true nor"),
        (
            {"num_hidden_layers": 6, "layer_types": ["full_attention"] * 4},
            "layer_types has 4 entries, one for each layer, where num_hidden_layers is 6",
        ),
        ({"a": json.loads('{"b":' * 60 + "1" + "}" * 60)}, "a holds objects within objects"),
    ],
)
def test_what_no_model_can_have_is_named(
    tmp_path: Path, content: str | dict[str, Any], text: str
) -> None:
    """Before memory is taken for it."""
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CheckpointError, match=text):
        read_config(path)


def test_what_models_have_is_taken(tmp_path: Path) -> None:
    """Lists of figures, none at all, and the infinity of state space models."""
    config = {"num_attention_heads": [4, 2], "head_dim": None, "time_step_limit": [0.0, 1e999]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path / "config.json") == config


def test_a_config_that_says_the_same_keeps_its_bytes(tmp_path: Path) -> None:
    """A person's spacing too."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    (before / "config.json").write_text('{"a":   1}')
    write_config({"a": 1}, before, after)
    assert (after / "config.json").read_text() == '{"a":   1}'
    write_config({"a": 2}, before, after)
    assert json.loads((after / "config.json").read_text()) == {"a": 2}
