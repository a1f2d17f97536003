"""From a tensor to one number a group."""

import pytest
import torch
from linear_sites import linear_site

from globalprune.models.architecture import GroupAxis
from globalprune.statistics.reducers.group_sums import (
    BlockSums,
    add_to_block,
    join_blocks,
    sum_to_groups,
)

COUNTED = torch.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("values", "axis", "groups", "expected"),
    [
        (COUNTED, GroupAxis("w", 0, (2,)), 2, [0 + 1 + 2 + 3 + 4 + 5, 6 + 7 + 8 + 9 + 10 + 11]),
        (COUNTED, GroupAxis("w", 1, (1,)), 3, [0 + 3 + 6 + 9, 1 + 4 + 7 + 10, 2 + 5 + 8 + 11]),
        (COUNTED[:, 0], GroupAxis("b", 0, (2,)), 2, [0 + 3, 6 + 9]),
        (torch.arange(8.0), GroupAxis("qkv", 0, (2, 1, 1)), 2, [0 + 1 + 4 + 6, 2 + 3 + 5 + 7]),
    ],
    ids=["rows", "columns", "bias", "blocks"],
)
def test_every_group_sums_its_neighbouring_lines(
    values: torch.Tensor, axis: GroupAxis, groups: int, expected: list[float]
) -> None:
    """Group u owns the lines from u·width on of each block, in whichever dimension they lie."""
    assert sum_to_groups(values, axis, groups).tolist() == expected


def test_many_small_terms_beside_a_large_one_are_not_lost() -> None:
    """Sums are made in float64: float32 would stop counting at 2^24."""
    values = torch.ones(2, 5)
    values[:, 0] = 2.0**24
    assert sum_to_groups(values, GroupAxis("w", 0, (1,)), 2).tolist() == [2.0**24 + 4] * 2


def test_the_sites_of_a_sublayer_add_up() -> None:
    """A sublayer's importance is that of all its projections; a site's tensor isn't changed."""
    sums: BlockSums = {}
    first = torch.tensor([1.0, 2.0])
    add_to_block(sums, linear_site([[1.0], [1.0]]), first)
    add_to_block(sums, linear_site([[1.0], [1.0]]), torch.tensor([10.0, 20.0]))
    assert join_blocks(sums)[0, "mlp"].tolist() == [11.0, 22.0]
    assert first.tolist() == [1.0, 2.0]


def test_experts_lie_one_behind_the_other() -> None:
    """Whichever was added first, and apart from other sublayers."""
    sums: BlockSums = {
        ((0, "mlp"), 2): torch.tensor([3.0]),
        ((0, "attention"), 0): torch.tensor([9.0]),
        ((0, "mlp"), 0): torch.tensor([1.0, 2.0]),
    }
    found = join_blocks(sums)
    assert {sublayer: values.tolist() for sublayer, values in found.items()} == {
        (0, "attention"): [9.0],
        (0, "mlp"): [1.0, 2.0, 3.0],
    }
