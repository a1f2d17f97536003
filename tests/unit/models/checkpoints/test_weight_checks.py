"""NaN and infinity stop whoever writes weights, with the tensor's name and the place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied
from safetensors.torch import load_file, save_file
from tiny_models import random_ids
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from globalprune.errors import CheckpointError, NonFiniteError
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.weight_checks import (
    EMBEDDING,
    HEAD,
    TIED_BY_DEFAULT,
    convert_dtype,
    refuse_non_finite,
)
from globalprune.models.loading import load_model
from globalprune.models.registry import ADAPTERS
from globalprune.models.sources.source import resolve_model


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_place_is_named(value: float) -> None:
    """In the tensor's own dimensions, whatever its strides."""
    tensor = torch.zeros(3, 4, dtype=torch.bfloat16)
    tensor[1, 2] = value
    with pytest.raises(NonFiniteError, match=rf"m: w holds {value} at \[1, 2\], which is no num"):
        refuse_non_finite("w", tensor, "m")
    with pytest.raises(NonFiniteError, match=r"at \[2, 1\]"):
        refuse_non_finite("w", tensor.T, "m")
    refuse_non_finite("w", torch.zeros(0, 3), "m")


def test_a_precision_that_ends_too_early_is_refused() -> None:
    """float16 has no 1e5; bfloat16 has."""
    tensor = torch.tensor([[1.0, -1e5]])
    assert convert_dtype("w", tensor, torch.bfloat16, "m").dtype == torch.bfloat16
    with pytest.raises(
        NonFiniteError, match=r"holds -100000 at \[0, 1\], beyond 65504, where floa"
    ):
        convert_dtype("w", tensor, torch.float16, "m")


def test_a_cut_of_weights_that_are_no_numbers_is_not_written(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nothing is left behind."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "m"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        NonFiniteError, match=r"layers\.0\.mlp\.up_proj\.weight holds nan at \[0, 0"
    ):
        applied(folder, tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {"m", "plan.yaml"}


Tensors = dict[str, torch.Tensor]


@pytest.fixture
def changed(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Give a copy of a tiny model with other tensors and another config."""

    def made(family: str, change: Callable[[Tensors], Any], **config: Any) -> Path:
        folder = Path(shutil.copytree(tiny(family), tmp_path / family))
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        raw = json.loads((folder / "config.json").read_text()) | config
        raw = {key: value for key, value in raw.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(raw))
        return folder

    return made


def test_the_defaults_are_those_of_the_classes() -> None:
    """Where config.json is silent."""
    found = {name: bool(CONFIG_MAPPING[name]().tie_word_embeddings) for name in ADAPTERS}
    assert found == TIED_BY_DEFAULT


@pytest.mark.parametrize(
    ("family", "change", "config"),
    [
        ("gemma3", lambda t: t.pop(HEAD), {"tie_word_embeddings": None}),
        ("llama_tied_bias", lambda t: t.update({HEAD: t[EMBEDDING].clone()}), {}),
        ("llama_tied_bias", lambda t: t.update({HEAD: t[EMBEDDING] + 1}), {}),
        ("llama_tied_bias", lambda t: t.update({HEAD: t.pop(EMBEDDING)}), {}),
        ("llama", lambda _: None, {"tie_word_embeddings": None}),
    ],
    ids=["silent and tied", "stored twice", "stored otherwise", "the head alone", "silent, untied"],
)
def test_every_view_is_that_of_transformers(
    changed: Callable[..., Path],
    tmp_path: Path,
    family: str,
    change: Callable[[Tensors], Any],
    config: dict[str, Any],
) -> None:
    """Parameters counted, the model that runs, and the one that a cut writes for any runtime."""
    folder = changed(family, change, **config)
    ids = random_ids(1, 12)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        expected = theirs(ids).logits
        torch.testing.assert_close(load_model(folder)(ids).logits, expected, rtol=0, atol=0)
        written = Path(applied(folder, tmp_path, {}).out)
        torch.testing.assert_close(load_model(written)(ids).logits, expected, rtol=0, atol=0)
    opened, after = (open_checkpoint(resolve_model(str(one))) for one in (folder, written))
    assert opened.parameters == after.parameters == sum(p.numel() for p in theirs.parameters())
    own_head = theirs.lm_head.weight is not theirs.model.embed_tokens.weight
    raw = json.loads((written / "config.json").read_text())
    assert (HEAD in after.tensors) == own_head
    assert raw.get("tie_word_embeddings", TIED_BY_DEFAULT[raw["model_type"]]) == (not own_head)


@pytest.mark.parametrize(
    ("family", "change", "text"),
    [
        (
            "llama_tied_bias",
            lambda t: t.update({HEAD: t[EMBEDDING][:-4].clone()}),
            r"lm_head\.weight is \[256, 32\] and model\.embed_tokens\.weight \[260, 32\], where",
        ),
        ("llama", lambda t: t.pop(HEAD), r"holds model\.embed_tokens\.weight and no lm_head\.weig"),
        ("llama", lambda t: t.pop(EMBEDDING), r"holds lm_head\.weight and no model\.embed_tokens"),
    ],
    ids=["of another shape", "no head", "no embedding"],
)
def test_heads_that_cannot_be_are_refused_when_opened(
    changed: Callable[..., Path], family: str, change: Callable[[Tensors], Any], text: str
) -> None:
    """By name, and before anything loads."""
    with pytest.raises(CheckpointError, match=text):
        open_checkpoint(resolve_model(str(changed(family, change))))
