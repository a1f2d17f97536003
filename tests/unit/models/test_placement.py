"""Where a model runs, and in what precision."""

import pytest
import torch
from shape_checkpoint import ShapeCheckpoint

from globalprune.errors import UsageError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.placement import DTYPES, Placement, choose_placement, compute_dtype


@pytest.mark.parametrize("name", DTYPES)
def test_a_precision_is_named_as_torch_names_it(name: str) -> None:
    """The name in the record is the name that was typed."""
    assert choose_placement("cpu", name) == Placement("cpu", getattr(torch, name))


def test_without_a_precision_the_checkpoint_decides() -> None:
    """Loading knows best: float32 on a CPU, the checkpoint's own elsewhere."""
    assert choose_placement("cpu", None) == Placement("cpu", None)


@pytest.mark.parametrize("name", ["fp16", "float64", "int8", ""])
def test_an_unknown_precision_is_refused(name: str) -> None:
    """The message lists those that there are."""
    with pytest.raises(
        UsageError,
        match=rf"^--dtype {name}: is not a precision; there are float32, bfloat16, float16\.$",
    ):
        choose_placement("cpu", name)


@pytest.mark.parametrize(
    "device", ["nonsense", "cuda:99", "cpu,cuda", "meta", "hpu", "ve", "privateuseone"]
)
def test_a_device_that_torch_can_not_use_here_is_refused(device: str) -> None:
    """One line, without torch's advice to report a bug; `meta` has memory but no numbers."""
    with pytest.raises(UsageError, match="try cpu") as caught:
        choose_placement(device, None)
    text = str(caught.value)
    assert text.startswith(f"--device {device}: can't be used here (")
    assert text.endswith("); try cpu.")
    assert "\n" not in text
    assert len(text) < 300


def stored_as(dtype: str) -> ShapeCheckpoint:
    """A checkpoint of one tensor."""
    return ShapeCheckpoint({}, {"model.norm.weight": TensorInfo((8,), dtype)})


@pytest.mark.parametrize(
    ("device", "stored", "expected"),
    [
        ("cpu", "BF16", torch.float32),
        ("cuda", "BF16", torch.bfloat16),
        ("cuda:1", "F16", torch.float16),
        ("mps", "F32", torch.float32),
    ],
)
def test_the_precision_follows_from_place_and_checkpoint(
    device: str, stored: str, expected: torch.dtype
) -> None:
    """As a load would have it, and never against what was asked."""
    asked = Placement(device, torch.bfloat16)

    assert compute_dtype(Placement(device, None), stored_as(stored)) == expected
    assert compute_dtype(asked, stored_as(stored)) == torch.bfloat16


def test_a_stored_precision_to_compute_in_is_asked_for() -> None:
    """Where the checkpoint's own is none."""
    with pytest.raises(UsageError, match="shapes-only: is stored as F64; name a --dtype: float32"):
        compute_dtype(Placement("cuda", None), stored_as("F64"))
