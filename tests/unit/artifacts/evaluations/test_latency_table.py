"""machine.json: points that make a curve for each kind, and nothing else."""

import itertools
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import machine_record, timed

from globalprune.artifacts.evaluations.latency_table import (
    Latencies,
    LatencyCurve,
    MachineRecord,
    TimedPoint,
    isotonic_regression,
    read_machine_record,
    refuse_machine_output,
)
from globalprune.artifacts.records import write_record
from globalprune.errors import RecordInvalid, UsageError

FULL = timed(2, 8, 3.0)
NO_ATTENTION, NO_MLP = timed(0, 8, 1.0), timed(2, 0, 2.0)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Every round of every point."""
    record = machine_record(warnings=("mind the noise",))
    write_record(tmp_path / "machine.json", record)

    assert read_machine_record(tmp_path / "machine.json") == record
    refuse_machine_output(tmp_path / "machine.json")


def test_a_kind_has_its_points_in_order_and_ends_in_the_full_model() -> None:
    """The full model is in both."""
    record = machine_record()

    assert [point.attention for point in record.points_of("attention")] == [0, 1, 2]
    assert [point.mlp for point in record.points_of("mlp")] == [0, 4, 8]
    assert record.points_of("mlp")[-1] is record.points_of("attention")[-1] is record.full


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((FULL, NO_ATTENTION, timed(2, 0, 2.0, 2.0)), "points.2 has not the 1 rounds of the full"),
        ((FULL, NO_ATTENTION, NO_MLP, timed(1, 4, 2.0)), "points.3 keeps not fewer groups of one"),
        ((FULL, NO_ATTENTION, NO_MLP, timed(3, 0, 2.0)), "points.3 keeps not fewer groups of one"),
        ((FULL, NO_ATTENTION, NO_MLP, FULL), "points.3 keeps not fewer groups of one kind alone"),
        ((FULL, NO_ATTENTION, timed(2, 4, 2.0)), "its points of mlp are not distinct counts from"),
        ((FULL, NO_MLP, NO_MLP, NO_ATTENTION), "its points of mlp are not distinct counts from 0"),
        ((timed(0, 8, 1.0), timed(0, 4, 1.0), timed(0, 0, 1.0)), "its points of attention are not"),
    ],
    ids=["rounds", "both", "more", "full twice", "no end", "twice", "nothing to keep"],
)
def test_points_that_make_no_curve_are_refused(
    tmp_path: Path, points: tuple[TimedPoint, ...], message: str
) -> None:
    """A hand edit can't make the file lie."""
    write_record(tmp_path / "machine.json", machine_record(*points))
    with pytest.raises(RecordInvalid, match=rf"{message}.*was edited; run gp measure again\."):
        read_machine_record(tmp_path / "machine.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("machine/1", "machine/2"), r"is of format globalprune\.machine/2, this .* reads .*/1;"),
        (("3.0", "0.0"), r"(?s)is not a record of latencies; run gp measure again.*greater than 0"),
        (('"layers": 2', '"layers": 0'), r"(?s)not a record of latencies.*layers: .*greater than"),
        (("{", ""), "is not JSON"),
    ],
    ids=["another version", "no time", "no layers", "cut short"],
)
def test_what_is_no_record_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    """The message says what is wrong where, and what to do."""
    path = tmp_path / "machine.json"
    write_record(path, machine_record())
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(RecordInvalid, match=message):
        read_machine_record(path)


def test_only_latencies_are_replaced(tmp_path: Path) -> None:
    """Nobody's notes, nor another record of ours."""
    notes = tmp_path / "notes.json"
    notes.write_text('{"format": "globalprune.recovery/1"}')
    refuse_machine_output(tmp_path / "new" / "machine.json")
    for path, message in (
        (notes, "notes.json: is there and is no record of latencies; name another"),
        (tmp_path / "machine.txt", r"machine\.txt: is not called \.json; name a \.json file"),
        (tmp_path, "is a folder, where a file should be written"),
    ):
        with pytest.raises(UsageError, match=message):
            refuse_machine_output(path)
    assert notes.read_text() == '{"format": "globalprune.recovery/1"}'


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
    assert isotonic_regression(values).tolist() == pytest.approx(expected)


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
