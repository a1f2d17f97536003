"""Where a model runs, and in what precision."""

import pytest
import torch

from globalprune.errors import UsageError
from globalprune.models.placement import DTYPES, Placement, choose_placement


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
