"""Models for export, wide enough for quantised blocks, and what transformers says of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from llama_cpp import Continued, LlamaCpp
from tiny_models import tiny_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from uneven_models import Cut, save_uneven

from globalprune.export.exporter import ExportResult, export_gguf
from globalprune.models.loading import load_model

VOCABULARY = 320
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 16,  # 8 × 16 ≠ 64
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama with every bias": ("llama_tied_bias", {}),
    "llama with one group": ("llama", {"num_key_value_heads": 1}),
    "mistral": ("mistral", {}),
    "qwen2": ("qwen2", {"hidden_size": 128}),
    "qwen2 with a head": ("qwen2", {"tie_word_embeddings": False}),
    "qwen3": ("qwen3", {"tie_word_embeddings": True}),
}
# no attention first, odd widths, no MLP, other groups than elsewhere
EVERY_KIND_OF_CUT: Cut = {
    0: {"attention": ()},
    1: {"attention": (2,), "mlp": tuple(range(0, 90, 7))},
    2: {"mlp": ()},
    3: {"attention": (0, 3), "mlp": tuple(range(64))},
}
SPECIAL = ("<s>", "</s>", "<pad>")
PROMPTS = ((5, 77, 300, 41, 8), tuple(range(20, 60)))


def ascii_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of ASCII alone: llama.cpp's server tells of no half character."""
    letters = [chr(code) for code in range(33, 127)]
    pairs = [(a, b) for a in letters[32:58] for b in letters[32:58]]
    pairs = pairs[: VOCABULARY - len(SPECIAL) - len(letters)]
    tokens = [*SPECIAL, *letters, *map("".join, pairs)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    bos, eos, pad = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad
    )


def save_cut(
    folder: Path,
    family: str = "llama",
    cut: Cut | None = None,
    *,
    dropped: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
    **shape: Any,
) -> Path:
    """Save a random model of one of `FAMILIES`, cut by hand, with a tokenizer."""
    name, own = FAMILIES[family]
    model = tiny_model(name, **{**_SHAPE, **own, **shape}).to(dtype)  # type: ignore[arg-type]
    save_uneven(folder, model, cut or {}, dropped)
    ascii_tokenizer().save_pretrained(folder)
    return folder


def export_folder(folder: Path, dtype: str | None = "f32") -> ExportResult:
    """Write the GGUF file beside a model's folder."""
    return export_gguf(str(folder), folder.with_suffix(".gguf"), dtype=dtype)


def continue_in_transformers(folder: Path, ids: Sequence[int], tokens: int) -> Continued:
    """Decode greedily without a cache."""
    model: Any = load_model(folder)
    found: list[int] = []
    values: list[float] = []
    for _ in range(tokens):
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *found]])).logits[0, -1]
        found.append(int(logits.argmax()))
        values.append(float(logits.log_softmax(-1)[found[-1]]))
    return found, values


def largest_logit_difference(file: Path, folder: Path, tokens: int = 12) -> float:
    """The largest difference of log-probabilities; infinite where a token differs."""
    runtime = LlamaCpp(file)
    differences = []
    for ids in PROMPTS:
        found, values = runtime.go_on(ids, tokens)
        expected, reference = continue_in_transformers(folder, ids, tokens)
        if not found or found != expected[: len(found)]:
            return math.inf
        differences += [abs(a - b) for a, b in zip(values, reference, strict=False)]
    return max(differences)
