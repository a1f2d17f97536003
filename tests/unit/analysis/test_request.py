"""Which layers are measured."""

import pytest
from analysing import plain_structure

from globalprune.analysis.request import chosen_layers
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
