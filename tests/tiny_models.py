"""Tiny seeded random models of every family, saved as real checkpoints with a byte tokenizer.

Every parameter is random, biases and norms too: a forgotten bias or norm then shows in the logits.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

VOCABULARY = 260  # 256 bytes, then <s>, </s>, <pad>, <unk>
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,  # 6 × 8 ≠ 32: hidden / heads would be wrong
    "max_position_embeddings": 256,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    # Llama's own config wants hidden_size to be a multiple of the heads
    "llama": (LlamaConfig, {"num_attention_heads": 8, "num_key_value_heads": 4}),
    "llama_tied_bias": (
        LlamaConfig,
        {
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "llama_one_kv": (LlamaConfig, {"num_attention_heads": 4, "num_key_value_heads": 1}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "qwen2": (Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, {}),
    "phi3": (Phi3Config, {"partial_rotary_factor": 0.5, "sliding_window": 8}),
    "olmo2": (Olmo2Config, {}),
    "smollm3": (SmolLM3Config, {"no_rope_layers": [1, 0, 1, 1]}),
    "granite": (
        GraniteConfig,
        {"residual_multiplier": 0.5, "embedding_multiplier": 2.0, "logits_scaling": 3.0},
    ),
    "gemma2": (
        Gemma2Config,
        {"num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 8},
    ),
    "gemma3": (
        Gemma3TextConfig,
        {"num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 8},
    ),
}
FAMILIES = tuple(CONFIGS)
MLP_ONLY = frozenset({"olmo2"})  # its norms of queries and keys span all heads


def tiny_config(family: str, **overrides: Any) -> PreTrainedConfig:
    """The config of one family, with the shape that all share unless overridden."""
    config_class, own = CONFIGS[family]
    return config_class(**{**_SHAPE, **own, **overrides})


def tiny_model(family: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A random float32 model in eval mode; every parameter is drawn."""
    config = tiny_config(family, **overrides)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name
            parameter.copy_(1 + 0.1 * noise if is_norm else 0.2 * noise)
    model.eval()
    return model


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, with `<s>`, `</s>`, `<pad>` and `<unk>` behind them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    for index, special in enumerate(("<s>", "</s>", "<pad>", "<unk>")):
        vocabulary[special] = 256 + index
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def save_tiny(folder: Path, family: str, seed: int = 0, **overrides: Any) -> Path:
    """Save a tiny model and its tokenizer as any Hub model would be; return the folder."""
    model = tiny_model(family, seed, **overrides)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def random_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    """Token ids `[batch, length]` of ordinary bytes."""
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(seed))
