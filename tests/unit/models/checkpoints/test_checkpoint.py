"""What a stored tensor takes on disk."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from globalprune.artifacts.stored_weights import DTYPE_BYTES
from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_are_those_that_the_format_stores(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype
) -> None:
    """A free disk is judged by them, so each name must be the format's own."""
    path = tmp_path_factory.mktemp("dtype") / "one.safetensors"
    tensor = torch.ones(3, 5).to(dtype)
    save_file({"x": tensor}, path)
    with safe_open(path, framework="pt") as file:
        name = file.get_slice("x").get_dtype()
    assert TensorInfo((3, 5), name).bytes == tensor.nbytes


def test_packed_values_are_refused_with_the_way_out() -> None:
    """Half a byte can't be cut at any channel."""
    assert "F4" not in DTYPE_BYTES
    with pytest.raises(CheckpointError, match=r"has dtype F4, which can't be cut; load and save"):
        _ = TensorInfo((2, 2), "F4").bytes
