"""Norms of what the groups feed forward, and of the weights themselves."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from linear_sites import linear_site, over
from tiny_models import random_ids

from globalprune.statistics.interface import SublayerKey
from globalprune.statistics.reducers.activations import InputRms, magnitudes

Tiny = Callable[[str], Path]
SUBLAYER: SublayerKey = (0, "mlp")


def test_the_mean_runs_over_all_tokens_and_inputs_of_a_group() -> None:
    """Batches of different lengths weigh by their tokens, not by their number."""
    site = linear_site([[1.0, 1.0, 1.0, 1.0]], groups=2, side="columns")
    reducer = InputRms()
    reducer.on_input(site, torch.tensor([[[3.0, 5.0, 0.0, 0.0]]]))
    reducer.on_input(site, torch.tensor([[[1.0, 1.0, 2.0, 0.0], [1.0, 1.0, 0.0, 2.0]]]))
    found = reducer.finish(over(tokens=3))["input_rms"].whole[SUBLAYER]
    expected = torch.tensor([(9 + 25 + 4) / 6, 8 / 6], dtype=torch.float64).sqrt()
    torch.testing.assert_close(found, expected)


def test_squares_of_large_float16_activations_do_not_overflow() -> None:
    """300² is more than float16 holds; outliers of that size are ordinary."""
    site = linear_site([[1.0, 1.0]], groups=2, side="columns", dtype=torch.float16)
    reducer = InputRms()
    reducer.on_input(site, torch.full((1, 4, 2), 300.0, dtype=torch.float16))
    assert reducer.finish(over(tokens=4))["input_rms"].whole[SUBLAYER].tolist() == [300.0, 300.0]


def test_magnitudes_count_rows_columns_and_biases() -> None:
    """Σ |θ| over every projection of the sublayer; an output's bias is no group's."""
    rows = linear_site([[1.0, -2.0], [3.0, -4.0]], bias=[-5.0, 6.0])
    columns = linear_site([[7.0, -8.0]], bias=[100.0], side="columns")
    assert magnitudes([rows, columns])[SUBLAYER].tolist() == [1 + 2 + 5 + 7, 3 + 4 + 6 + 8]


@pytest.mark.parametrize(
    ("silenced", "sublayer", "quiet"),
    [
        ("mlp.gate_proj", (1, "mlp"), 5),
        ("mlp.up_proj", (1, "mlp"), 5),
        ("self_attn.v_proj", (1, "attention"), 2),
    ],
    ids=["gate", "up", "value"],
)
def test_activations_are_those_after_the_gate(
    tiny: Tiny, silenced: str, sublayer: SublayerKey, quiet: int
) -> None:
    """A channel with a shut gate feeds nothing forward, whatever enters its layer."""
    model = measuring.loaded(tiny("llama"))
    weight = model.get_parameter(f"model.layers.1.{silenced}.weight")
    width = 8 if sublayer[1] == "attention" else 1
    with torch.no_grad():
        weight[quiet * width : (quiet + 1) * width] = 0
    sites = measuring.sites_of(model, tiny("llama"))
    rms = measuring.measured(model, sites, [*random_ids(2, 6)], ["input_rms"]).sums["input_rms"]
    assert [group for group, value in enumerate(rms[sublayer]) if value == 0] == [quiet]
