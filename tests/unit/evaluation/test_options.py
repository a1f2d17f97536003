"""What gp eval and gp measure are told, before a model is opened."""

from typing import Any

import pytest

from globalprune.artifacts.evaluations.evaluation import SpeedSettings
from globalprune.errors import UsageError
from globalprune.evaluation.options import EvaluationOptions, MeasureOptions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0: must be at least 1."),
        ({"context": 0}, "--context 0: must be at least 1."),
        ({"tokens": 0}, "--tokens 0: must be at least 1."),
        ({"points": 1}, "--points 1: must be at least 2."),
        ({"rounds": 0}, "--rounds 0: must be at least 1."),
    ],
    ids=str,
)
def test_a_number_that_is_too_small_is_refused(changes: dict[str, Any], message: str) -> None:
    """By the option that a person can change; one more is enough."""
    with pytest.raises(UsageError) as refused:
        MeasureOptions(**changes).check()
    assert str(refused.value) == message
    MeasureOptions(**{name: value + 1 for name, value in changes.items()}).check()


def test_a_sequence_ends_behind_its_context_the_warm_up_and_its_tokens() -> None:
    """As many positions must exist."""
    assert MeasureOptions(context=20, tokens=3).positions == 24


def test_the_record_holds_what_was_asked_and_the_speed_that_was_measured() -> None:
    """A short text or little memory changes how speed is measured."""
    options = EvaluationOptions("text", seq_len=8, stride=9, samples=7, batch_size=6, dtype="f")
    followed = SpeedSettings(prompt_tokens=2)

    assert options.record(followed).model_dump() == {
        "seq_len": 8,
        "stride": 9,
        "samples": 7,
        "batch_size": 6,
        "dtype": "f",
        "tasks": None,
        "speed": followed.model_dump(),
    }
