"""What a person is told before they trust measured latencies."""

from records import machine_record, timed

from globalprune.evaluate.latency_doubts import warn_of_latencies

CALM = (
    timed(2, 8, 3.0, 3.1, 3.0),
    timed(1, 8, 2.0, 2.1, 2.0),
    timed(0, 8, 1.0, 1.1, 1.0),
    timed(2, 0, 1.5, 1.6, 1.5),
)


def test_calm_rounds_give_no_warning() -> None:
    """Not even where the whole machine drifts, since all points drift together."""
    drifting = [timed(point.attention, point.mlp, *(
        seconds + drift for seconds, drift in zip(point.seconds_per_token, (0, 9, 4), strict=True)
    )) for point in CALM]  # fmt: skip

    assert warn_of_latencies(machine_record(*CALM)) == ()
    assert warn_of_latencies(machine_record(*drifting)) == ()


def test_noise_that_drowns_the_steps_is_told_for_its_kind() -> None:
    """With both sizes, so that a person sees how far off it is."""
    noisy = timed(2, 0, 3.4, 2.7, 3.0)
    [warning] = warn_of_latencies(machine_record(*CALM[:3], noisy))

    assert warning.startswith("mlp: from one point to the next a token's time moves by 0 ms, and")
    assert "don't trust these figures" in warning


def test_one_large_step_does_not_hide_noise_in_the_others() -> None:
    """To empty a half saves what the half takes by being there, whatever its width."""
    noisy = timed(2, 6, 3.4, 2.7, 3.1), timed(2, 4, 2.8, 3.3, 3.0), timed(2, 2, 3.3, 2.9, 3.0)
    [warning] = warn_of_latencies(machine_record(*CALM, *noisy))

    assert warning.startswith("mlp: from one point to the next")


def test_one_round_is_told() -> None:
    """It says nothing of the noise."""
    assert warn_of_latencies(machine_record()) == (
        "one round can't tell latency from noise; take more --rounds.",
    )


def test_a_narrower_model_that_is_slower_is_told() -> None:
    """Beyond doubt, and it is said how it counts."""
    slow = timed(1, 8, 3.3, 3.4, 3.3)
    [warning] = warn_of_latencies(machine_record(CALM[0], slow, *CALM[2:]))

    assert warning.startswith("attention: keeping 1 of 2 takes 110.0")
    assert "counts as one that saves nothing" in warning
