"""Law 6: the number of windows that run together changes no importance beyond rounding."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES, random_ids

from globalprune.importance import IMPORTANCES
from globalprune.statistics.interface import PassStatistic
from globalprune.statistics.loss import LabelDraw

LENGTHS = st.lists(st.sampled_from([2, 3, 7, 12]), min_size=1, max_size=7)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, deadline=None)
@given(
    lengths=LENGTHS,
    batch_size=st.integers(2, 8),
    seed=st.integers(0, 999),
    draw=st.sampled_from([None, LabelDraw(5)]),
)
def test_batch_size_changes_no_importance(
    tiny: Callable[[str], Path],
    family: str,
    lengths: list[int],
    batch_size: int,
    seed: int,
    draw: LabelDraw | None,
) -> None:
    """Windows one by one or many together: every method gives the same, and so does the loss."""
    model = measuring.loaded(tiny(family))
    sites = measuring.sites_of(model, tiny(family))
    rows = [random_ids(1, length, seed + row)[0] for row, length in enumerate(lengths)]
    needs: set[PassStatistic] = {"output_curvature"}
    passing = {name: measuring.collectable(method) for name, method in IMPORTANCES.items()}
    methods = [IMPORTANCES[name] for name, found in passing.items() if found]
    needs.update(*passing.values())

    single = measuring.measured(model, sites, rows, needs, 1, draw)
    batched = measuring.measured(model, sites, rows, needs, batch_size, draw)

    assert batched.loss == pytest.approx(single.loss, rel=1e-6)
    for sublayer in single.sums["magnitude"]:
        expected, found = (
            sums["output_curvature"][sublayer] for sums in (single.sums, batched.sums)
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
        for method in methods:
            expected, found = (
                method.combine({need: sums[need][sublayer] for need in method.needs})
                for sums in (single.sums, batched.sums)
            )
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
