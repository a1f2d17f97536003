"""Trials of plans with chosen losses, and a small trained model whose attention matters."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from nano import Training, train
from tiny_models import VOCABULARY, tiny_config, tiny_tokenizer
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from globalprune.artifacts.analyses.reliability import Trial, TrialCut, TrialCutName, trial_of

TOKENS = 10  # predicted, of every window
_LETTERS = 6
_DRAWN = 8  # every so many letters two are drawn
_SHAPE = {
    "num_hidden_layers": 3,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "initializer_range": 0.02,
}


def trial_with(
    plan: float = 2.0,
    *,
    dense: float = 1.0,
    noise: float = 0.0,
    windows: float = 4,
    **others: float,
) -> Trial:
    """A trial in which the plan and `others` lose so many nats a token on every window.

    With `noise`, the plan loses that much more on every second window, and less on the others.
    """
    windows = int(windows)
    signs = [(-1) ** window for window in range(windows)]
    means: Mapping[str, Sequence[float]] = {
        "plan": [plan + sign * noise for sign in signs],
        **{name: [loss] * windows for name, loss in others.items()},
    }
    names: Any = list(means)
    candidates = [TrialCut(name, {}, 100, 0.01 if name == "plan" else None) for name in names]
    losses: dict[TrialCutName, list[float]] = {
        name: [TOKENS * loss for loss in means[name]] for name in names
    }
    return trial_of(
        candidates,
        losses,
        [TOKENS * dense] * windows,
        [TOKENS] * windows,
        importance="mine",
        ratio=0.2,
        vocabulary=1000,
        unused=True,
    )


def save_trained(folder: Path, family: str = "gemma3") -> Path:
    """Train a tiny model with a single KV head on sums of letters; return its folder.

    Each letter is the sum of the two before it, so that without attention all are alike.
    """
    torch.manual_seed(0)
    config = tiny_config(family, **_SHAPE)
    model = AutoModelForCausalLM.from_config(config)
    how = Training(steps=150, batch=16, length=33, learning_rate=5e-3, warmup=20)
    train(model, letter_sums(512, seed=1), how)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    assert config.vocab_size == VOCABULARY
    return folder


def letter_sums(windows: int, seed: int) -> torch.Tensor:
    """Windows `[windows, 33]` of bytes: two letters, drawn anew now and then, tell the next.

    So no window is much easier than another.
    """
    ids = torch.randint(0, _LETTERS, (windows, 33), generator=torch.Generator().manual_seed(seed))
    for place in range(ids.shape[1]):
        if place % _DRAWN > 1:
            ids[:, place] = (ids[:, place - 1] + ids[:, place - 2]) % _LETTERS
    return ids + ord("a")


def write_letter_sums(path: Path, windows: int = 24) -> Path:
    """A .jsonl of such windows."""
    rows = letter_sums(windows, seed=2).tolist()
    path.write_text("\n".join(json.dumps({"input_ids": row}) for row in rows) + "\n", "utf-8")
    return path
