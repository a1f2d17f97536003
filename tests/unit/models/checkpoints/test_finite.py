"""NaN and infinity stop whoever writes weights, with the tensor's name and the place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import applied
from safetensors.torch import load_file, save_file

from globalprune.errors import NonFiniteError
from globalprune.models.checkpoints.finite import converted, refuse_non_finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_place_is_named(value: float) -> None:
    """In the tensor's own dimensions, whatever its strides."""
    tensor = torch.zeros(3, 4, dtype=torch.bfloat16)
    tensor[1, 2] = value
    with pytest.raises(NonFiniteError, match=rf"m: w holds {value} at \[1, 2\], which is no num"):
        refuse_non_finite("w", tensor, "m")
    with pytest.raises(NonFiniteError, match=r"at \[2, 1\]"):
        refuse_non_finite("w", tensor.T, "m")
    refuse_non_finite("w", torch.zeros(0, 3), "m")


def test_a_precision_that_ends_too_early_is_refused() -> None:
    """float16 has no 1e5; bfloat16 has."""
    tensor = torch.tensor([[1.0, -1e5]])
    assert converted("w", tensor, torch.bfloat16, "m").dtype == torch.bfloat16
    with pytest.raises(
        NonFiniteError, match=r"holds -100000 at \[0, 1\], beyond 65504, where floa"
    ):
        converted("w", tensor, torch.float16, "m")


def test_a_cut_of_weights_that_are_no_numbers_is_not_written(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nothing is left behind."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "m"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        NonFiniteError, match=r"layers\.0\.mlp\.up_proj\.weight holds nan at \[0, 0"
    ):
        applied(folder, tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {"m", "plan.yaml"}
