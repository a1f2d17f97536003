"""machine.json: points that make a curve for each kind, and nothing else."""

from pathlib import Path

import pytest
from records import machine_record, timed

from globalprune.artifacts.evaluations.machine_record import (
    TimedPoint,
    read_machine_record,
    refuse_machine_place,
)
from globalprune.artifacts.record_file import write_record
from globalprune.errors import RecordInvalid, UsageError

FULL = timed(2, 8, 3.0)
NO_ATTENTION, NO_MLP = timed(0, 8, 1.0), timed(2, 0, 2.0)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Every round of every point."""
    record = machine_record(warnings=("mind the noise",))
    write_record(tmp_path / "machine.json", record)

    assert read_machine_record(tmp_path / "machine.json") == record
    refuse_machine_place(tmp_path / "machine.json")


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
    refuse_machine_place(tmp_path / "new" / "machine.json")
    for path, message in (
        (notes, "notes.json: is there and is no record of latencies; name another"),
        (tmp_path / "machine.txt", r"machine\.txt: is not called \.json; name a \.json file"),
        (tmp_path, "is a folder, where a file should be written"),
    ):
        with pytest.raises(UsageError, match=message):
            refuse_machine_place(path)
    assert notes.read_text() == '{"format": "globalprune.recovery/1"}'
