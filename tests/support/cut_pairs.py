"""A cut model beside the masked original that it must equal, and what both say to the same ids."""

from pathlib import Path
from typing import Any

import torch
from tiny_models import random_ids, tiny_model
from transformers import PreTrainedModel
from uneven_models import Cut, masked, save_uneven

from globalprune.models.loading import load_model

IDS = random_ids(3, 12)
Pair = tuple[PreTrainedModel, PreTrainedModel]


def cut_pair(folder: Path, family: str, cut: Cut, **overrides: Any) -> Pair:
    """Save a cut model in `folder` and load it; with the masked original."""
    save_uneven(folder, tiny_model(family, **overrides), cut)
    return load_model(folder), masked(tiny_model(family, **overrides), cut)


def logits_of(model: PreTrainedModel, ids: torch.Tensor = IDS, **inputs: Any) -> torch.Tensor:
    """Logits `[batch, length, vocabulary]`, without gradients."""
    with torch.no_grad():
        logits: torch.Tensor = model.forward(ids, **inputs).logits
    return logits


def generated(model: PreTrainedModel, ids: torch.Tensor = IDS, **options: Any) -> torch.Tensor:
    """Six tokens behind every row, greedily unless `options` say otherwise."""
    generate: Any = model.generate
    found: torch.Tensor = generate(
        ids,
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
        **({"attention_mask": torch.ones_like(ids)} | options),
    )
    return found
