"""Tiny models as GGUF files: by `gp export`, and by gguf-py for families that it doesn't write."""

from pathlib import Path
from typing import Any, Final

import gguf
import torch
from export_models import export_folder, save_cut
from gguf import GGMLQuantizationType as Kind
from gguf.quants import quantize
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM

_GEMMA: Final = {
    "intermediate_size": 96,
    "head_dim": 256,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "tie_word_embeddings": True,
}
# what transformers reads of each: heads of 128 in qwen3, of 256 in Gemma
FAMILIES: Final[dict[str, dict[str, Any]]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {"hidden_size": 128},
    "qwen3": {"head_dim": 128, "num_attention_heads": 2, "num_key_value_heads": 1},
    "gemma2": _GEMMA,
    "gemma3": {**_GEMMA, "rope_theta": 20_000.0},
}


def save_pair(folder: Path, family: str, dtype: str = "f32") -> tuple[Path, Path]:
    """Save a random model as a folder and as a GGUF file beside it."""
    shape = FAMILIES[family]
    if not family.startswith("gemma"):
        saved = save_cut(folder, family, **shape)
        return saved, export_folder(saved, dtype).path
    saved = save_tiny(folder, family, **shape)
    return saved, write_gemma(saved, saved.with_suffix(".gguf"), Kind[dtype.upper()])


def write_gemma(folder: Path, file: Path, kind: Kind) -> Path:
    """Write a Gemma folder as llama.cpp's own converter does: norms with the 1 added."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config, name = model.config, {"gemma2": "gemma2", "gemma3_text": "gemma3"}
    architecture = name[config.model_type]
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma3":
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    else:
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    _add_tokens(writer, config.vocab_size)
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for parameter, value in model.named_parameters():
        below, ending = parameter.rsplit(".", 1)
        numbers = value.detach().float() + ("norm" in parameter)
        own = Kind.F32 if numbers.dim() == 1 else kind
        data = quantize(numbers.numpy(), own)
        writer.add_tensor(f"{names.get_name(below)}.{ending}", data, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokens(writer: gguf.GGUFWriter, count: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"<{index}>" for index in range(count)])
    writer.add_token_merges([])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
