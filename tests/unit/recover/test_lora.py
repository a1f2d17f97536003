"""Adapters go on every linear module of the layers, and on nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recovering import IDS, cut_unevenly
from tiny_models import FAMILIES, tiny_model
from torch import nn

from globalprune.artifacts.results.finetuning import LoraSettings
from globalprune.errors import UsageError
from globalprune.models.loading import load_model
from globalprune.recover.lora import add_adapters

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapted(model: Any, **changes: Any) -> Any:
    """The model with adapters."""
    return add_adapters(model, LoraSettings(**({"r": 2, "alpha": 6, "dropout": 0.1} | changes)))


def places(model: Any) -> set[str]:
    """The modules that have an adapter, by their name in the plain model."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    return {
        re.sub(r"^base_model\.model\.|\.lora_[AB]\.default\.weight$", "", name) for name in names
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_module_of_the_layers_gets_one(family: str) -> None:
    """Neither the head nor the embedding does, and nothing but adapters is trained."""
    plain = tiny_model(family)
    linears = {name for name, part in plain.named_modules() if isinstance(part, nn.Linear)}
    found = places(adapted(tiny_model(family)))
    assert found == linears - {"lm_head"}
    assert len(found) == 4 * (4 if family == "phi3" else len(LINEARS))


def test_their_rank_scale_and_dropout_are_those_asked() -> None:
    """A is [r, in] and B [out, r]; what they add is scaled by alpha / r."""
    layer = adapted(tiny_model("llama")).get_submodule(
        "base_model.model.model.layers.1.mlp.up_proj"
    )
    assert layer.lora_A["default"].weight.shape == (2, 32)
    assert layer.lora_B["default"].weight.shape == (24, 2)
    assert layer.scaling["default"] == 3
    assert layer.lora_dropout["default"].p == 0.1


def test_they_begin_by_changing_nothing() -> None:
    """Training starts from the model that was cut."""
    with torch.no_grad():
        expected = tiny_model("qwen3")(IDS).logits
        found = adapted(tiny_model("qwen3")).eval()(IDS).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_named_targets_alone_get_one() -> None:
    """In every layer."""
    found = places(adapted(tiny_model("llama"), targets=("v_proj", "down_proj")))
    assert found == {
        f"model.layers.{layer}.{name}"
        for layer in range(4)
        for name in ("self_attn.v_proj", "mlp.down_proj")
    }


@pytest.mark.parametrize("name", ["query", "lm_head", "proj"])
def test_an_unknown_target_is_refused_with_those_there_are(name: str) -> None:
    """By itself, peft would take a part of a name for one, or the head."""
    there = ", ".join(sorted(LINEARS))
    with pytest.raises(
        UsageError, match=rf"^--lora-targets {name}: .* have no such linear .*; they have {there}\."
    ):
        adapted(tiny_model("llama"), targets=("q_proj", name))


def test_an_emptied_half_gets_none_though_its_output_bias_is_left(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """It has no input that an adapter could look at; the other halves get theirs."""
    cut = cut_unevenly(tiny("llama_tied_bias"), tmp_path, "llama_tied_bias")
    model = load_model(cut)
    assert {"model.layers.0.self_attn.o_proj", "model.layers.3.mlp.down_proj"} <= {
        name for name, _ in model.named_modules()
    }
    found = places(adapted(model))
    attention = {f"model.layers.{i}.self_attn.{name}" for i in (1, 2, 3) for name in LINEARS[:4]}
    mlp = {f"model.layers.{i}.mlp.{name}" for i in (0, 1, 2) for name in LINEARS[4:]}
    assert found == attention | mlp
