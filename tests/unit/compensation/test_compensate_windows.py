"""The windows that compensation is fitted to, validation windows, and window starts."""

from collections.abc import Callable
from pathlib import Path

import measuring
import pytest
import torch
from compensating import running
from tiny_models import random_ids

from globalprune.compensation.compensate import (
    compensation_streams,
    validation_every,
    window_starts,
)
from globalprune.errors import UsageError

Tiny = Callable[[str], Path]
ROWS = list(random_ids(20, 100))


def test_window_starts_are_of_what_is_fitted_to() -> None:
    """Four tokens at every 32nd, and never of a validation window."""
    found = window_starts(measuring.windows_of(ROWS)).rows
    expected = [
        row[start : start + 4]
        for number, row in enumerate(ROWS)
        if number != 15
        for start in (32, 64, 96)
    ]
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_a_token_that_begins_all_windows_needs_no_others() -> None:
    """A model with such a token never sees another one first."""
    rows = [torch.cat([torch.tensor([1]), row]) for row in ROWS]
    assert window_starts(measuring.windows_of(rows)).rows == ()


def test_short_windows_have_none() -> None:
    """Nothing fits behind their first tokens."""
    assert window_starts(measuring.windows_of([row[:32] for row in ROWS])).rows == ()


def test_streams_are_those_of_the_windows_and_of_their_starts(tiny: Tiny) -> None:
    """Starts in larger batches, since they are short; none of them validates."""
    here = running(tiny("llama"))
    found = compensation_streams(here, measuring.windows_of(ROWS), batch_size=4)
    shapes = [tuple(batch.dense.shape[:2]) for batch in found]
    assert shapes == [*[(4, 100)] * 5, (57, 4)]
    assert [int(batch.held_out.sum()) for batch in found] == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(("windows", "every"), [(2, 2), (15, 15), (16, 16), (128, 16)])
def test_one_window_validates_at_least(windows: int, every: int) -> None:
    """Of many, one in sixteen."""
    assert validation_every(measuring.windows_of([ROWS[0]] * windows)) == every


def test_a_single_window_is_refused() -> None:
    """It can't be both fitted to and validated on."""
    with pytest.raises(UsageError, match=r"a single window of text.*say --samples 2 at least"):
        validation_every(measuring.windows_of(ROWS[:1]))
