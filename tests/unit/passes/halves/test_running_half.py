"""What a half knows of its groups."""

import pytest
from torch import nn

from globalprune.passes.halves.running_half import RunningHalf


@pytest.mark.parametrize(
    ("groups", "width", "columns"),
    [([0, 2], 3, [0, 1, 2, 6, 7, 8]), ([5, 1], 1, [5, 1]), ([], 3, [])],
    ids=["wide groups", "channels", "none"],
)
def test_columns_are_those_of_the_groups(groups: list[int], width: int, columns: list[int]) -> None:
    """In the order of the groups, `width` each."""
    nothing = nn.Identity()
    half = RunningHalf((0, "mlp"), nothing, nothing, None, "", width)
    assert half.columns(groups).tolist() == columns
