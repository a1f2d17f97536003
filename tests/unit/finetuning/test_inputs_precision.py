"""The precision that a device can train in."""

import pytest
import torch

from globalprune.errors import UsageError
from globalprune.finetuning.inputs import choose_precision


@pytest.mark.parametrize(
    ("dtype", "method", "weights", "frozen"),
    [
        (None, "lora", torch.float32, torch.float32),
        ("bfloat16", "lora", torch.bfloat16, torch.bfloat16),
        ("bfloat16", "full", torch.float32, torch.bfloat16),
    ],
    ids=["said nothing", "lora", "full"],
)
def test_weights_that_are_trained_are_float32(
    dtype: str | None, method: str, weights: torch.dtype, frozen: torch.dtype
) -> None:
    """Frozen ones may be as short as the arithmetic; a teacher is always frozen."""
    chosen = choose_precision("cpu", dtype, method)  # type: ignore[arg-type]
    assert (chosen.weights, chosen.frozen, chosen.on_cpu) == (weights, frozen, True)
    assert chosen.name == (dtype or "float32")


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("cuda:2", None, r"--device cuda:2: finetuning takes cpu or cuda; .*_DEVICES=2, and use"),
        ("mps", None, r"--device mps: finetuning takes cpu or cuda"),
        ("cpu", "float16", r"--dtype float16: can't be trained in on a cpu; say float32"),
        ("cpu", "int8", r"--dtype int8: is not a precision"),
    ],
)
def test_what_cannot_be_trained_in_is_refused(device: str, dtype: str | None, message: str) -> None:
    """With what to say instead."""
    with pytest.raises(UsageError, match=f"^{message}"):
        choose_precision(device, dtype, "lora")
