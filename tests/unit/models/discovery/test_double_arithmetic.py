"""Models that compute in float32 on purpose are told apart from rounding."""

import torch

from globalprune.models.discovery.double_arithmetic import DoubleArithmetic


def test_what_asks_for_float32_gets_float64() -> None:
    """By a method, an argument, or a keyword."""
    values = torch.rand(3, dtype=torch.float64)
    with DoubleArithmetic():
        made = values.float(), values.to(torch.float32), values.softmax(0, dtype=torch.float32)

    assert {one.dtype for one in made} == {torch.float64}
    assert values.float().dtype == torch.float32
