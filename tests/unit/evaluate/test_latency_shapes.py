"""Which models are timed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measuring import described
from tiny_models import FAMILIES

from globalprune.evaluate.latency_shapes import Kept, fewer_than, model_of, shapes_to_time
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model


@given(groups=st.integers(1, 20_000), points=st.integers(2, 40))
def test_counts_go_from_almost_all_to_none(groups: int, points: int) -> None:
    """With the full layer never more than asked, all of few, and even steps."""
    counts = fewer_than(groups, points)
    steps = [more - less for more, less in zip([groups, *counts], counts, strict=False)]

    assert counts[-1] == 0
    assert counts == sorted(set(counts), reverse=True)
    assert len(counts) == min(points - 1, groups)
    assert max(steps) - min(steps) <= (128 if groups >= 64 * points else 1)


@pytest.mark.parametrize(
    ("groups", "points", "counts"),
    [
        (3, 5, [2, 1, 0]),
        (8, 5, [6, 4, 2, 0]),
        (1536, 5, [1152, 768, 384, 0]),
        (14336, 7, [11968, 9536, 7168, 4800, 2368, 0]),
        (24, 2, [0]),
    ],
)
def test_many_channels_are_counted_by_64(groups: int, points: int, counts: list[int]) -> None:
    """As GPUs like them, and plans that are rounded to them."""
    assert fewer_than(groups, points) == counts


@pytest.mark.parametrize("family", FAMILIES)
def test_an_emptied_half_is_gone(tiny: Callable[[str], Path], family: str) -> None:
    """Not zeroed: its projections are in no layer, but for an output bias."""
    folder = tiny(family)
    _, structure = described(folder)
    config = open_checkpoint(resolve_model(str(folder))).config
    whole, *fewer = shapes_to_time(structure.layers[0], 2)
    names = {
        kept: set(model_of(config, structure, kept, torch.float32).state_dict())
        for kept in (whole, *fewer)
    }
    no_attention, no_mlp = fewer

    assert no_attention == Kept(0, whole.mlp)
    assert no_mlp == Kept(whole.attention, 0)
    for kind, without in (("attention", no_attention), ("mlp", no_mlp)):
        gone = {name.split(".", 3)[3] for name in names[whole] - names[without]}
        axes = adapter_for(config).axes(structure.layers[0], kind)  # type: ignore[arg-type]
        assert gone >= {axis.tensor for axis in axes} > set()
