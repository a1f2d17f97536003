"""Models of types that no table knows, as a user would meet them: raw configs and tiny folders."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny_models import VOCABULARY, tiny_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from globalprune.models.discovery.small_model import fill

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}


def met_config(model_type: str, **overrides: Any) -> dict[str, Any]:
    """The config.json of a type's class with tiny sizes; other defaults are the class's own."""
    config: Any = CONFIG_MAPPING[model_type](**{**_SHAPE, **overrides})
    raw: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return raw


def save_met(folder: Path, model_type: str, **overrides: Any) -> Path:
    """Save a random model of the type with a tokenizer, as any Hub model would be."""
    config = CONFIG_MAPPING[model_type](**{**_SHAPE, **overrides})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fill(model, seed=0)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
