"""Well-known models by shape alone: configs as they are published, no weights."""

from typing import Any

import torch
from shape_checkpoint import ShapeCheckpoint
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from globalprune.models.checkpoint import TensorInfo

CONFIGS: dict[str, PretrainedConfig] = {
    "meta-llama/Meta-Llama-3-8B": LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=128256,
    ),
    "mistralai/Mistral-7B-v0.1": MistralConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=32000,
    ),
    "Qwen/Qwen2.5-7B": Qwen2Config(
        hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        intermediate_size=18944, vocab_size=152064,
    ),
    "Qwen/Qwen3-8B": Qwen3Config(
        hidden_size=4096, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
        head_dim=128, intermediate_size=12288, vocab_size=151936,
    ),
}  # fmt: skip


def checkpoint_of(name: str) -> ShapeCheckpoint:
    """A checkpoint of that shape, as transformers would save it; nothing is allocated."""
    config = CONFIGS[name]
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    tensors = {
        parameter: TensorInfo(tuple(tensor.shape), "BF16")
        for parameter, tensor in model.state_dict().items()
    }
    raw = config.to_dict() | {"architectures": [type(model).__name__]}
    return ShapeCheckpoint(raw, tensors)
