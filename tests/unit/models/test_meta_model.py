"""Models without weights: the right classes and shapes, and many of them in one block."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, random_ids, tiny_model
from transformers import PreTrainedModel
from uneven_models import save_uneven, uneven_cut

from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.meta_model import (
    class_differences,
    empty_model,
    place_in_storage,
    random_storage,
    storage_elements,
)
from globalprune.models.sources.source import resolve_model


def config_of(folder: Path) -> dict[str, Any]:
    """The raw config.json."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def laid_out(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model in a block of its own."""
    model = empty_model(config, dtype)
    place_in_storage(random_storage(storage_elements(model), dtype, "cpu"), model)
    return model


def ways_to_attend(model: PreTrainedModel) -> set[str]:
    """What the configs of all modules say, their layers' own ones too."""
    modules: list[Any] = [*model.modules()]
    return {module.config._attn_implementation for module in modules if hasattr(module, "config")}


@pytest.fixture(params=[*FAMILIES, "uneven"])
def folder(request: pytest.FixtureRequest, tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model of every family, and one whose layers differ."""
    if request.param != "uneven":
        return tiny(request.param)
    save_uneven(tmp_path, tiny_model("llama_tied_bias"), uneven_cut("llama_tied_bias"))
    return tmp_path


def test_it_is_the_model_that_loading_gives_but_for_its_weights(folder: Path) -> None:
    """The same class, tensors, shapes and way to attend; and the config is left alone."""
    config = config_of(folder)
    empty, loaded = empty_model(config), load_model(folder)

    assert type(empty) is type(loaded)
    assert {name: value.shape for name, value in empty.state_dict().items()} == {
        name: value.shape for name, value in loaded.state_dict().items()
    }
    assert all(tensor.is_meta for tensor in empty.parameters())
    assert not empty.training
    assert ways_to_attend(empty) == ways_to_attend(loaded)
    assert config == config_of(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_it_runs_once_it_lies_in_a_block(folder: Path, dtype: torch.dtype) -> None:
    """In the precision that was asked for, and to finite numbers."""
    model = laid_out(config_of(folder), dtype)
    logits = model(input_ids=random_ids(2, 5)).logits

    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert logits.shape == (2, 5, 260)
    assert logits.isfinite().all()


def test_tensors_lie_side_by_side_and_tied_ones_in_one_place(folder: Path) -> None:
    """None overlaps another."""
    model = laid_out(config_of(folder))
    spans = sorted((it.data_ptr(), it.data_ptr() + it.nbytes) for it in model.parameters())
    named = dict(model.named_parameters(remove_duplicate=False))
    head, embedding = named["lm_head.weight"], named["model.embed_tokens.weight"]

    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert (head is embedding) is bool(model.config.tie_word_embeddings)


def test_many_models_lie_in_one_block(tiny: Callable[[str], Path]) -> None:
    """They share their numbers, so memory holds one."""
    first, second = (empty_model(config_of(tiny(name))) for name in ("llama", "qwen3"))
    block = random_storage(
        max(storage_elements(first), storage_elements(second)), torch.float32, "cpu"
    )
    for model in (first, second):
        place_in_storage(block, model)

    starts = [next(model.parameters()).data_ptr() for model in (first, second)]
    assert starts == [block.data_ptr()] * 2


def test_a_block_is_large_enough_and_the_same_in_every_run() -> None:
    """Drawn once and repeated."""
    block = random_storage(2**20 + 5, torch.bfloat16, "cpu")

    assert len(block) >= 2**20 + 5
    assert block.equal(random_storage(2**20 + 5, torch.bfloat16, "cpu"))
    assert 0.09 < float(block.float().std()) < 0.11


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
