"""Importances in half precision are those of float32, down to gradients that float16 can't hold.

A script that multiplies θ·g as autograd leaves them in float16 finds zero for every group here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import pytest
import torch
from tiny_models import random_ids

Tiny = Callable[[str], Path]
ROWS = random_ids(4, 24)
SMALLEST_FLOAT16 = 2.0**-24


def faint(folder: Path, dtype: torch.dtype) -> Any:
    """A model whose loss hardly depends on its layers."""
    model = measuring.loaded(folder, torch.float16)
    with torch.no_grad():
        model.model.norm.weight.mul_(2.0**-13)
        model.lm_head.weight.mul_(2.0**-10)
    return model.to(dtype)


def layer_gradients(model: Any) -> list[torch.Tensor]:
    """What autograd alone leaves at the weights of the layers."""
    model(ROWS, labels=ROWS).loss.backward()
    gradients = [parameter.grad for parameter in model.model.layers.parameters()]
    model.zero_grad()
    return gradients


@pytest.mark.parametrize("name", ["taylor", "taylor_2nd"])
def test_gradients_that_underflow_float16_are_measured_all_the_same(tiny: Tiny, name: str) -> None:
    """Every group's importance is that of float32 within a few per cent, and none is zero."""
    exact, sublayer = faint(tiny("llama"), torch.float32), faint(tiny("llama"), torch.float16)
    assert max(float(g.abs().max()) for g in layer_gradients(exact)) < SMALLEST_FLOAT16 / 2
    assert not any(gradient.any() for gradient in layer_gradients(sublayer))

    expected = importance(exact, tiny("llama"), name)
    found = importance(sublayer, tiny("llama"), name)

    assert min(float(value) for value in found.values()) > 0
    assert measuring.largest_difference(found, expected) < 0.03


@pytest.mark.parametrize("name", ["taylor", "taylor_2nd", "wanda"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_agrees_with_float32(tiny: Tiny, name: str, dtype: torch.dtype) -> None:
    """All is added up in float32 or wider, so only the model's own rounding is left."""
    rounded = measuring.loaded(tiny("qwen2"), dtype)
    expected = importance(measuring.loaded(tiny("qwen2"), dtype).float(), tiny("qwen2"), name)
    found = importance(rounded, tiny("qwen2"), name)
    promised = 0.01 if dtype == torch.float16 else 0.06
    assert measuring.largest_difference(found, expected) < promised
    assert all(value.dtype == torch.float64 for value in found.values())


@pytest.mark.parametrize("name", ["fisher", "fisher_winsorised"])
@pytest.mark.parametrize("make", ["faint", "float16", "bfloat16"])
def test_gates_in_half_precision_agree_with_float32(tiny: Tiny, name: str, make: str) -> None:
    """Up to the model's rounding: where terms of J all but cancel, beside its sublayer's mean."""
    dtype = torch.bfloat16 if make == "bfloat16" else torch.float16
    loaded = faint if make == "faint" else measuring.loaded
    rounded = loaded(tiny("llama"), dtype)
    exact = loaded(tiny("llama"), dtype).float()
    found, expected = (importance(model, tiny("llama"), name) for model in (rounded, exact))
    assert found.keys() == expected.keys()
    assert min(float(value) for value in found.values()) > 0
    promised = 0.1 if make == "bfloat16" else 0.05
    for layer, kind in {key[:2] for key in expected}:
        sublayer = [key for key in expected if key[:2] == (layer, kind)]
        mean = sum(float(expected[key]) for key in sublayer) / len(sublayer)
        off = [
            abs(float(found[key] - expected[key])) / (float(expected[key]) + mean)
            for key in sublayer
        ]
        assert max(off) < promised


def importance(model: Any, folder: Path, name: str) -> measuring.Groups:
    """One importance of every group."""
    return measuring.importance(model, measuring.sites_of(model, folder), list(ROWS), name, 2)
