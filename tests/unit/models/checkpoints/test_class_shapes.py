"""Whether tensors and config belong together, told before a weight is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, tiny_model
from uneven_models import save_uneven, uneven_cut

from globalprune.models.checkpoints.class_shapes import class_differences
from globalprune.models.checkpoints.opening import open_checkpoint
from globalprune.models.sources.source import resolve_model


def differences(folder: Path) -> list[str]:
    """What a folder's class and tensors don't agree on."""
    opened = open_checkpoint(resolve_model(str(folder)))
    return list(class_differences(opened.config, opened.tensors))


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_models_have_no_differences(
    tiny: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    """Even, uneven, tied or with biases."""
    save_uneven(tmp_path / "uneven", tiny_model(family), uneven_cut(family))

    assert differences(tiny(family)) == []
    assert differences(tmp_path / "uneven") == []


@pytest.mark.parametrize(
    ("tensors", "config", "text"),
    [
        ({"model.norm.weight": None}, {}, r"model.norm.weight: the model class wants \[32\], the"),
        ({}, {"vocab_size": 300}, r"embed_tokens.weight: the model class wants \[300, 32\]"),
        (
            {},
            {"attention_bias": True},
            r"q_proj.bias: the model class wants \[64\], the",
        ),
        ({}, {"tie_word_embeddings": None}, r"config.json: no model can be built from it"),
        ({}, {"vocab_size": 200}, r"config.json: no model can be built from it"),
    ],
    ids=["a norm", "vocabulary", "biases", "not a boolean", "padding outside"],
)
def test_what_does_not_belong_together_is_named(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    tensors: dict[str, None],
    config: dict[str, Any],
    text: str,
) -> None:
    """With both shapes, so that a person sees which of the two is wrong."""
    import re

    folder = tmp_path / "model"
    shutil.copytree(tiny("llama"), folder)
    held = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in held.items() if k not in tensors}, folder / "model.safetensors")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | config))

    assert any(re.search(text, found) for found in differences(folder))
