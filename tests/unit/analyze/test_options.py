"""What a person may say about where and how to measure."""

import pytest
import torch
from analysing import plain_structure

from globalprune.analyze.options import (
    DTYPES,
    Placement,
    check_batch_size,
    choose_placement,
    chosen_layers,
)
from globalprune.errors import UsageError

STRUCTURE = plain_structure(attention=(4, 4, 0, 4), mlp=(4, 4, 0, 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, range(4)),
        (":", range(4)),
        ("1:3", range(1, 3)),
        ("2:", range(2, 4)),
        (":2", range(2)),
        (" 0 : 4 ", range(4)),
    ],
)
def test_layers_are_half_open_and_either_end_may_be_left_out(
    text: str | None, expected: range
) -> None:
    """As Python slices."""
    assert chosen_layers(text, STRUCTURE) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("3", r"is not A:B \(from layer A up to, not including, B\); say 10:15\."),
        ("-2:4", r"is not A:B"),
        ("1:2:3", r"is not A:B"),
        ("", r"is not A:B"),
        ("1-3", r"is not A:B"),
        ("2:5", r"the model has 4 layers, 0 to 3; end at 4\."),
        ("2:2", r"names no layer of the 4; A must be less than B\."),
        ("3:1", r"names no layer of the 4; A must be less than B\."),
        ("9:", r"names no layer of the 4; A must be less than B\."),
        ("2:3", r"these layers have no groups left to measure; name others\."),
    ],
)
def test_layers_that_make_no_sense_are_refused(text: str, complaint: str) -> None:
    """The message repeats the option, and says what would be right."""
    with pytest.raises(UsageError, match=rf"^--layers {text}: {complaint}"):
        chosen_layers(text, STRUCTURE)


def test_a_model_with_nothing_left_is_refused() -> None:
    """Even where no layers were named."""
    with pytest.raises(UsageError, match="no groups left to measure"):
        chosen_layers(None, plain_structure(attention=(0, 0), mlp=(0, 0)))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_at_least_one_window(size: int) -> None:
    """Zero would measure nothing, silently."""
    with pytest.raises(UsageError, match=rf"^--batch-size {size}: must be at least 1\.$"):
        check_batch_size(size)


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
