"""Numbers that are not finite, and what is said about them."""

import math
import re

import pytest
import torch

from globalprune.errors import NonFiniteError
from globalprune.passes.finite import FiniteWatch
from globalprune.passes.interface import Batch

BATCH = Batch(first_window=8, windows=3, predicted=3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_the_first_bad_thing_and_its_window_are_named(value: float) -> None:
    """What came first is the cause; what came after is only its consequence."""
    watch = FiniteWatch()
    broken = torch.ones(3, 4, 2)
    broken[1, 2, 0] = value
    watch.note("layer one: its input", torch.ones(3, 4, 2))
    watch.note("layer two: its input", broken)
    watch.note("layer three: its input", torch.full((3, 4, 2), math.nan))
    text = (
        "layer two: its input is not finite in window 9 of the text; "
        "try --dtype float32 (or bfloat16), and check the model's weights."
    )
    with pytest.raises(NonFiniteError, match=f"^{re.escape(text)}$"):
        watch.settle(BATCH)


def test_infinities_of_both_signs_do_not_cancel() -> None:
    """Only sums are looked at."""
    watch = FiniteWatch()
    watch.note("it", torch.tensor([[math.inf, -math.inf]]))
    with pytest.raises(NonFiniteError, match="it is not finite in window 8"):
        watch.settle(BATCH)


def test_many_large_float16_numbers_are_finite() -> None:
    """Their sum is more than float16 holds, and that is no fault of theirs."""
    watch = FiniteWatch()
    watch.note("it", torch.full((3, 100, 8), 60_000.0, dtype=torch.float16))
    watch.settle(BATCH)


def test_what_was_settled_is_forgotten() -> None:
    """A later batch is not blamed for an earlier one, nor is memory kept for it."""
    watch = FiniteWatch()
    watch.note("first", torch.full((3, 1), math.nan))
    with pytest.raises(NonFiniteError, match="first"):
        watch.settle(BATCH)
    watch.note("second", torch.ones(3, 1))
    watch.settle(BATCH)
