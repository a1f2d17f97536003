"""Predicted latencies: what was measured at the points, straight lines between, nothing beyond."""

import itertools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import machine_record, timed

from globalprune.artifacts.evaluations.latencies import Latencies, LatencyCurve, never_falling
from globalprune.artifacts.evaluations.machine_record import MachineRecord

SECONDS = st.floats(1e-4, 10)


@st.composite
def records(draw: st.DrawFn) -> MachineRecord:
    """Any times of a model of 4 attention groups and 9 channels, at some counts of each."""
    rounds = draw(st.integers(1, 4))
    seconds = st.lists(SECONDS, min_size=rounds, max_size=rounds)
    attention = draw(st.sets(st.integers(1, 3))) | {0}
    mlp = draw(st.sets(st.integers(1, 8))) | {0}
    points = [(4, 9), *((count, 9) for count in attention), *((4, count) for count in mlp)]
    layers = draw(st.integers(1, 3))
    return machine_record(*(timed(*kept, *draw(seconds)) for kept in points), layers=layers)


def everywhere(record: MachineRecord, attention: int, mlp: int) -> np.ndarray:
    """That every layer keeps so many."""
    return np.full((record.layers, 2), (attention, mlp))


def test_the_measured_models_are_predicted_as_measured() -> None:
    """Where time falls with what is cut, as it should."""
    record = machine_record()
    latencies = Latencies.of(record)
    for point in record.points:
        predicted = latencies.seconds_per_token(everywhere(record, point.attention, point.mlp))
        assert predicted == pytest.approx(point.seconds_per_token[0])


def test_between_points_lies_a_straight_line() -> None:
    """In each kind; what both kinds save is added, and a layer has its part of it."""
    record = machine_record()
    latencies = Latencies.of(record)

    assert latencies.seconds_per_token(everywhere(record, 2, 7)) == pytest.approx(2.875)
    assert latencies.seconds_per_token(everywhere(record, 2, 1)) == pytest.approx(2.125)
    assert latencies.seconds_per_token(everywhere(record, 1, 7)) == pytest.approx(2.375)
    one_layer = np.asarray([[2, 8], [0, 6]])
    assert latencies.seconds_per_token(one_layer) == pytest.approx(3 - (2 + 0.25) / 2)


@given(record=records(), data=st.data())
def test_to_keep_more_is_never_faster_nor_slower_than_to_keep_all(
    record: MachineRecord, data: st.DataObject
) -> None:
    """Whatever the noise."""
    latencies = Latencies.of(record)
    counts = st.tuples(st.integers(0, 4), st.integers(0, 9))
    less = np.asarray([data.draw(counts) for _ in range(record.layers)])
    more = np.asarray(
        [[data.draw(st.integers(kept, end)) for kept, end in zip(row, (4, 9), strict=True)]
         for row in less.tolist()]
    )  # fmt: skip
    full = latencies.seconds_per_token(everywhere(record, 4, 9))

    assert full == latencies.full
    assert latencies.seconds_per_token(less) <= latencies.seconds_per_token(more) + 1e-9
    assert latencies.seconds_per_token(more) <= full + 1e-9


@given(record=records())
def test_time_falls_in_a_straight_line_from_point_to_point(record: MachineRecord) -> None:
    """The steps between two points are all alike."""
    latencies = Latencies.of(record)
    for curve in latencies.curves.values():
        for first, second in pairwise(curve.kept.tolist()):
            assert np.allclose(np.diff(curve.at(np.arange(first, second + 1)), 2), 0)


@given(values=st.lists(SECONDS, min_size=1, max_size=7))
def test_the_nearest_sequence_that_never_falls(values: list[float]) -> None:
    """By a formula of its own: the largest of the smallest means around each place."""
    ends = range(1, len(values) + 1)
    expected = [
        max(
            min(float(np.mean(values[first:last])) for last in ends if last > place)
            for first in range(place + 1)
        )
        for place in range(len(values))
    ]
    assert never_falling(values).tolist() == pytest.approx(expected)


def test_a_median_is_not_moved_by_one_slow_round() -> None:
    """A hiccup in one round is no latency."""
    points = [timed(2, 8, 3.0, 30.0, 3.1), timed(0, 8, 1.0, 1.0, 9.0), timed(2, 0, 2.0, 2.0, 2.0)]
    latencies = Latencies.of(machine_record(*points))

    assert latencies.full == 3.1
    assert latencies.curves["attention"].saved_by_all == pytest.approx(2.1)


def test_what_is_slower_than_the_full_model_saves_nothing() -> None:
    """And lends none of its slowness to what others save."""
    points = [timed(2, 8, 3.0), timed(1, 8, 4.0), timed(0, 8, 1.0), timed(2, 0, 3.5)]
    record = machine_record(*points)
    latencies = Latencies.of(record)

    assert latencies.seconds_per_token(everywhere(record, 1, 8)) == 3.0
    assert latencies.seconds_per_token(everywhere(record, 2, 0)) == 3.0
    assert latencies.seconds_per_token(everywhere(record, 0, 8)) == pytest.approx(1.0)


def test_a_group_has_a_cost_in_whole_nanoseconds() -> None:
    """The mean over all groups of all layers, and 0 where it seems to save nothing."""
    points = [timed(2, 8, 3e-6), timed(0, 8, 1e-6), timed(2, 0, 4e-6)]
    latencies = Latencies.of(machine_record(*points, layers=2))

    assert latencies.nanoseconds_per_group("attention") == 500
    assert latencies.nanoseconds_per_group("mlp") == 0


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([[2, 8]], r"2 layers of both kinds were measured, not \(1, 2\)"),
        ([2, 8], r"2 layers of both kinds were measured, not \(2,\)"),
        ([[2, 8], [3, 8]], "only from 0 to 2 groups were measured"),
        ([[2, 8], [2, -1]], "only from 0 to 8 groups were measured"),
    ],
)
def test_nothing_is_told_of_what_was_not_measured(kept: list[object], message: str) -> None:
    """Other layers, or counts that no layer has."""
    with pytest.raises(ValueError, match=message):
        Latencies.of(machine_record()).seconds_per_token(np.asarray(kept))


def test_a_curve_takes_any_shape() -> None:
    """As numpy does, none at all too."""
    curve = LatencyCurve(np.asarray([0, 2]), np.asarray([1.0, 3.0]))
    for shape in itertools.product((0, 1, 2), repeat=2):
        assert curve.at(np.ones(shape, np.int64)).tolist() == np.full(shape, 2.0).tolist()
