"""A trial doubts a plan that costs clearly more than other cuts of its size, and no other."""

import math

import pytest
from trials import trial_with

from globalprune.artifacts.analyses.reliability import (
    broken_promise,
    doubt_text,
    trial_text,
    window_count,
)

GUESSING = math.log(1000)


@pytest.mark.parametrize(
    ("plan", "others", "doubted"),
    [
        (20.0, {"mlp": 1.4, "random": 5.0}, True),  # blind to a kind
        (20.0, {"mlp": 25.0, "random": 5.0}, True),  # worse than no importance at all
        (1.3, {"mlp": 1.4, "random": 5.0}, False),  # the best
        (1.09, {"mlp": 1.0}, False),  # less than a tenth in perplexity
        (2.4, {"mlp": 2.0}, False),  # all cost much, and this one not half as much again
        (1.11, {"mlp": 0.9}, True),  # a cut that even gains is the measure all the same
        (math.inf, {"mlp": 1.4}, True),
        (math.inf, {"mlp": math.inf}, False),  # nothing to hold it against
        (1.3, {"mlp": math.nan, "random": 5.0}, False),
        (9.0, {}, False),
    ],
)
def test_a_plan_is_held_against_the_best_other_cut(
    plan: float, others: dict[str, float], *, doubted: bool
) -> None:
    """By a tenth in perplexity at least, and half of what the other costs."""
    trial = trial_with(plan, **others)

    assert trial.doubted is doubted
    assert (doubt_text(trial) is not None) is doubted


@pytest.mark.parametrize(("noise", "doubted"), [(0.1, True), (2.0, False)])
def test_noise_is_no_reason(noise: float, *, doubted: bool) -> None:
    """Windows that disagree by as much tell nothing; a single one says nothing of its noise."""
    assert trial_with(2.0, noise=noise, mlp=1.2).doubted is doubted
    assert not trial_with(2.0, windows=1, mlp=1.2).doubted
    assert trial_with(2.0, noise=0.1, mlp=1.2).candidates[1].standard_error == pytest.approx(
        0.1 / math.sqrt(3)
    )


@pytest.mark.parametrize("dense", [GUESSING, math.nan])
def test_a_model_that_guesses_has_nothing_to_lose(dense: float) -> None:
    """What random weights lose by a cut says nothing of the cut."""
    assert not trial_with(GUESSING + 5, dense=dense, mlp=GUESSING).doubted
    assert trial_with(GUESSING + 5, dense=GUESSING - 0.5, mlp=GUESSING - 0.4).doubted


def test_a_doubt_says_what_was_found_and_what_to_do() -> None:
    """The cost of the plan, what it predicts, the other cut, and a way out."""
    assert doubt_text(trial_with(21.0, mlp=1.4, random=3.0)) == (
        "doubted: the plan of 20.0 % of all parameters by mine costs 20.0 nats a token where it "
        "predicts 0.01, tried on 4 windows that nothing was measured with; as many parameters of "
        "MLPs alone, by the same importance, cost 0.400 nats a token. Plan with --only mlp, or "
        "measure by another importance."
    )
    assert "groups drawn at random cost 0.500 nats" in str(doubt_text(trial_with(3.0, random=1.5)))
    assert "leaves no finite loss" in str(doubt_text(trial_with(math.nan, random=1.5)))
    assert trial_text(trial_with(1.25, mlp=1.5)) == (
        "20.0 % masked on 4 unused windows: plan 1.25, mlp 1.50 nats a token, of the whole model "
        "1.00"
    )


@pytest.mark.parametrize(
    ("plan", "dense", "noise", "broken"),
    [(1.5, 1.0, 0.1, True), (1.1, 1.0, 0.0, False), (1.5, 1.0, 2.0, False), (9.0, 7.0, 0.0, False)],
)
def test_a_plan_that_costs_far_more_than_predicted_is_told(
    plan: float, dense: float, noise: float, *, broken: bool
) -> None:
    """By three times and a tenth in perplexity, beyond noise; that alone is no doubt."""
    trial = trial_with(plan, dense=dense, noise=noise, mlp=plan)

    assert (broken_promise(trial) is not None) is broken
    assert not trial.doubted


def test_few_windows_are_tried_of_any_text() -> None:
    """A sixteenth, between six and twelve."""
    assert [window_count(samples) for samples in (1, 16, 128, 1000)] == [6, 6, 8, 12]
