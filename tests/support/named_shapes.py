"""Well-known models by shape alone: configs as they are published, no weights."""

from typing import Any

import torch
from shape_checkpoint import ShapeCheckpoint
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from globalprune.models.checkpoints.checkpoint import TensorInfo

CONFIGS: dict[str, PretrainedConfig] = {  # those of plans/
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
WITHOUT_PLAN: dict[str, PretrainedConfig] = {
    "01-ai/Yi-6B": LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=4,
        intermediate_size=11008, vocab_size=64000,
        rope_parameters={"rope_type": "default", "rope_theta": 5e6},
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": Qwen2Config(
        hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2,
        intermediate_size=8960, vocab_size=151936, tie_word_embeddings=False,
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": LlamaConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=128256,
    ),
    "microsoft/Phi-3-mini-4k-instruct": Phi3Config(
        hidden_size=3072, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=8192, vocab_size=32064, sliding_window=2047,
    ),
    "microsoft/phi-4": Phi3Config(
        hidden_size=5120, num_hidden_layers=40, num_attention_heads=40, num_key_value_heads=10,
        intermediate_size=17920, vocab_size=100352,
    ),
    "microsoft/Phi-4-mini-instruct": Phi3Config(
        hidden_size=3072, num_hidden_layers=32, num_attention_heads=24, num_key_value_heads=8,
        intermediate_size=8192, vocab_size=200064, tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": [1.0] * 48, "long_factor": [2.0] * 48, "factor": 32.0,
        },
    ),
    "allenai/OLMo-2-1124-7B": Olmo2Config(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=11008, vocab_size=100352,
    ),
}  # fmt: skip


def checkpoint_of(name: str) -> ShapeCheckpoint:
    """A checkpoint of that shape, as transformers would save it; nothing is allocated."""
    config = (CONFIGS | WITHOUT_PLAN)[name]
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    tensors = {
        parameter: TensorInfo(tuple(tensor.shape), "BF16")
        for parameter, tensor in model.named_parameters()  # a tied head once
    }
    raw = config.to_dict() | {"architectures": [type(model).__name__]}
    return ShapeCheckpoint(raw, tensors)
