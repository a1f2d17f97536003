"""The knife on one tensor."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.apply.facts import TensorFacts
from globalprune.apply.steps import KeepTensor, SliceTensor
from globalprune.apply.surgery import cut


def slicing(
    kept: tuple[tuple[int, int], ...], dim: int, shape: tuple[int, ...] = (8, 8)
) -> SliceTensor:
    """A step that keeps these ranges."""
    facts = TensorFacts(shape, "F32")
    return SliceTensor(0, "before", "after", dim, kept, facts, facts)


@settings(deadline=None, max_examples=30)
@given(
    indices=st.sets(st.integers(0, 7), min_size=1),
    dim=st.integers(0, 1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_the_kept_slices_and_no_others_stay(
    indices: set[int], dim: int, dtype: torch.dtype
) -> None:
    """They come in order, in their own dtype, bit for bit."""
    tensor = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = tuple((index, index + 1) for index in sorted(indices))
    found = cut(tensor, slicing(kept, dim))
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert torch.equal(found, tensor.index_select(dim, torch.tensor(sorted(indices))))


@pytest.mark.parametrize("dim", [0, 1], ids=["rows", "columns"])
def test_a_cut_tensor_lets_go_of_the_original(dim: int) -> None:
    """A view would hold the whole weight in memory until its shard is written."""
    found = cut(torch.ones(8, 8), slicing(((2, 4),), dim))
    assert found.untyped_storage().nbytes() == found.nbytes == 2 * 8 * 4


def test_a_transposed_tensor_is_written_in_its_own_order() -> None:
    """Safetensors refuses what is not contiguous, and no value may move for that."""
    tensor = torch.arange(6.0).reshape(2, 3).T
    kept = cut(tensor, KeepTensor(0, "a", "a", TensorFacts((3, 2), "F32")))
    assert kept.is_contiguous()
    assert torch.equal(kept, tensor)
