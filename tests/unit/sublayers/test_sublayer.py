"""What a sublayer knows of its groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compensating import running
from tiny_models import FAMILIES, random_ids
from torch import nn

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.sublayers.residual_stream import SublayerModel
from globalprune.sublayers.sublayer import Sublayer, layer_calls


@pytest.mark.parametrize(
    ("groups", "width", "columns"),
    [([0, 2], 3, [0, 1, 2, 6, 7, 8]), ([1, 5], 1, [1, 5]), ([], 3, [])],
    ids=["wide groups", "channels", "none"],
)
def test_columns_are_those_of_the_groups(groups: list[int], width: int, columns: list[int]) -> None:
    """`width` for each group, in order."""
    nothing = nn.Identity()
    sublayer = Sublayer((0, "mlp"), nothing, nothing, None, "", width)
    assert sublayer.columns(IndexSet.of(groups)).tolist() == columns


Tiny = Callable[[str], Path]
IDS = random_ids(2, 9)


def entered(found: SublayerModel) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    """What the layers are called with when the model runs as usual."""
    calls: list[tuple[torch.Tensor, dict[str, Any]]] = []
    handles = [
        layer.register_forward_pre_hook(
            lambda _module, args, kwargs: calls.append((args[0], kwargs)), with_kwargs=True
        )
        for layer in found.layers
    ]
    with torch.no_grad():
        found.module(IDS, use_cache=False)
    for handle in handles:
        handle.remove()
    return calls


def alike(one: Any, other: Any) -> bool:
    """Whether two arguments are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple):
        return all(alike(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_calls_are_those_of_the_model(tiny: Tiny, family: str) -> None:
    """The stream before the first layer, and every layer's other arguments."""
    found = running(tiny(family))
    expected = entered(found)
    calls = layer_calls(found.module, found.layers, IDS)
    assert torch.equal(calls.stream, expected[0][0])
    assert len(calls.kwargs) == len(found.layers)
    for kwargs, (_, wanted) in zip(calls.kwargs, expected, strict=True):
        assert kwargs.keys() == wanted.keys()
        assert all(alike(kwargs[name], wanted[name]) for name in wanted)


def test_layers_are_themselves_again(tiny: Tiny) -> None:
    """Afterwards the model computes what it did, and no layer has a forward of its own."""
    found = running(tiny("llama"))
    with torch.no_grad():
        before = found.module(IDS).logits
        layer_calls(found.module, found.layers, IDS)
        assert torch.equal(found.module(IDS).logits, before)
    assert not any("forward" in vars(layer) for layer in found.layers)


def test_layers_are_themselves_after_an_error_too(tiny: Tiny) -> None:
    """Ids beyond the vocabulary stop the call; the layers aren't left as notebooks."""
    found = running(tiny("llama"))
    with pytest.raises(IndexError):
        layer_calls(found.module, found.layers, torch.full((1, 3), 10_000))
    assert not any("forward" in vars(layer) for layer in found.layers)
