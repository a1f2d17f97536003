"""Which indices of a tensor kept groups own: the one rule that surgery and the proof cut by."""

import pytest

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.models.architecture import GroupAxis


@pytest.mark.parametrize(
    ("axis", "size", "kept", "owned"),
    [
        (GroupAxis("down", 1, (1,)), 6, "0, 3-5", [0, 3, 4, 5]),
        (GroupAxis("o", 1, (4,)), 12, "0, 2", [0, 1, 2, 3, 8, 9, 10, 11]),
        (GroupAxis("qkv", 1, (4, 2, 2)), 16, "1", [4, 5, 6, 7, 10, 11, 14, 15]),
        (GroupAxis("expert", 1, (1,), first=6), 3, "0-5, 7", [1]),
        (GroupAxis("expert", 1, (1,), first=6), 3, "0-5", []),
    ],
    ids=["channels", "heads", "fused", "an expert", "an expert that goes"],
)
def test_kept_groups_own_a_slice_of_every_block(
    axis: GroupAxis, size: int, kept: str, owned: list[int]
) -> None:
    """Counted from the beginning of each block, and of the expert whose groups begin there."""
    assert axis.slices(IndexSet.parse(kept), (5, size)).to_array().tolist() == owned
