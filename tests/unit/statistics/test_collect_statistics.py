"""Several statistics from a single pass, and none that nobody asked for."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import measuring
import pytest
import torch
from tiny_models import random_ids

from globalprune.statistics.interface import PASS_STATISTICS, PassStatistic

Tiny = Callable[[str], Path]
SHOWING = 2  # runs of one window that show the head to be the model's
ROWS = [*random_ids(3, 6), *random_ids(2, 4, seed=1)]


@pytest.mark.parametrize(
    "needs",
    [pair for size in (2, 4) for pair in combinations(PASS_STATISTICS, size)],
    ids=" and ".join,
)
def test_collected_together_is_as_collected_alone(
    tiny: Tiny, needs: tuple[PassStatistic, ...]
) -> None:
    """Sharing a pass, and the products of gradients, changes no number."""
    model = measuring.loaded(tiny("llama_tied_bias"))
    sites = measuring.sites_of(model, tiny("llama_tied_bias"), range(1, 3))
    together = measuring.measured(model, sites, ROWS, needs, 2).sums
    assert together.keys() == set(needs)
    for need in needs:
        alone = measuring.measured(model, sites, ROWS, [need], 2).sums
        assert alone.keys() == {need}
        for sublayer, values in alone[need].items():
            torch.testing.assert_close(together[need][sublayer], values)


def test_one_text_is_run_once_for_all_statistics(tiny: Tiny) -> None:
    """However many methods are asked for, each batch goes through the model one time."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    runs: list[int] = []
    model.model.layers[0].register_forward_hook(lambda *_: runs.append(1))
    measuring.measured(model, sites, ROWS, PASS_STATISTICS, 2)
    assert len(runs) == 2 + 1 + SHOWING


@pytest.mark.parametrize("batch_size", [1, 2, 9])
@pytest.mark.parametrize("split", [3, 2], ids=["odd", "even"])
def test_each_half_of_the_windows_is_as_if_it_were_all(
    tiny: Tiny, batch_size: int, split: int
) -> None:
    """The first half holds the odd window; no batch reaches over the middle."""
    model = measuring.loaded(tiny("llama_tied_bias"), torch.float64)
    sites = measuring.sites_of(model, tiny("llama_tied_bias"))
    rows = ROWS[5 - 2 * split + (split == 3) :]
    both = measuring.measured(model, sites, rows, PASS_STATISTICS, batch_size).halves
    assert both is not None
    for found, part in zip(both, (rows[:split], rows[split:]), strict=True):
        expected = measuring.measured(model, sites, part, PASS_STATISTICS, batch_size).sums
        assert found.keys() == expected.keys()
        for need, sublayers in expected.items():
            assert found[need].keys() == sublayers.keys()
            for sublayer, values in sublayers.items():
                torch.testing.assert_close(found[need][sublayer], values)


def test_one_window_has_no_halves(tiny: Tiny) -> None:
    """There is nothing to compare it with."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    assert measuring.measured(model, sites, ROWS[:1], PASS_STATISTICS).halves is None


def test_a_pass_can_be_repeated(tiny: Tiny) -> None:
    """Nothing of the first pass is left in the model or in the sites."""
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    first, second = (measuring.measured(model, sites, ROWS, PASS_STATISTICS, 2) for _ in range(2))
    for need in PASS_STATISTICS:
        for sublayer, values in first.sums[need].items():
            assert torch.equal(second.sums[need][sublayer], values)
