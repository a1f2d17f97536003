"""What a sublayer knows of its groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compensating import Running, running
from tiny_models import FAMILIES, random_ids
from torch import nn

from globalprune.sublayers.sublayer import Sublayer, layer_calls


@pytest.mark.parametrize(
    ("groups", "width", "columns"),
    [([0, 2], 3, [0, 1, 2, 6, 7, 8]), ([5, 1], 1, [5, 1]), ([], 3, [])],
    ids=["wide groups", "channels", "none"],
)
def test_columns_are_those_of_the_groups(groups: list[int], width: int, columns: list[int]) -> None:
    """In the order of the groups, `width` each."""
    nothing = nn.Identity()
    sublayer = Sublayer((0, "mlp"), nothing, nothing, None, "", width)
    assert sublayer.columns(groups).tolist() == columns


Tiny = Callable[[str], Path]
IDS = random_ids(2, 9)


def entered(found: Running) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    """What the layers are called with when the model runs as usual."""
    calls: list[tuple[torch.Tensor, dict[str, Any]]] = []
    handles = [
        layer.register_forward_pre_hook(
            lambda _module, args, beside: calls.append((args[0], beside)), with_kwargs=True
        )
        for layer in found.layers
    ]
    with torch.no_grad():
        found.model(IDS, use_cache=False)
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
    """The stream that enters the first layer, and of every layer what comes beside it."""
    found = running(tiny(family))
    expected = entered(found)
    calls = layer_calls(found.model, found.layers, IDS)
    assert torch.equal(calls.entering, expected[0][0])
    assert len(calls.beside) == len(found.layers)
    for beside, (_, wanted) in zip(calls.beside, expected, strict=True):
        assert beside.keys() == wanted.keys()
        assert all(alike(beside[name], wanted[name]) for name in wanted)


def test_layers_are_themselves_again(tiny: Tiny) -> None:
    """Afterwards the model computes what it did, and no layer has a forward of its own."""
    found = running(tiny("llama"))
    with torch.no_grad():
        before = found.model(IDS).logits
        layer_calls(found.model, found.layers, IDS)
        assert torch.equal(found.model(IDS).logits, before)
    assert not any("forward" in vars(layer) for layer in found.layers)


def test_layers_are_themselves_after_an_error_too(tiny: Tiny) -> None:
    """Ids beyond the vocabulary stop the call; the layers aren't left as notebooks."""
    found = running(tiny("llama"))
    with pytest.raises(IndexError):
        layer_calls(found.model, found.layers, torch.full((1, 3), 10_000))
    assert not any("forward" in vars(layer) for layer in found.layers)
