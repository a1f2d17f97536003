"""`gp measure` from the command line: a record on disk, the same on stdout, nothing else there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Said, files_below, gp, refused

from globalprune.artifacts.evaluations.latency_table import read_machine_record

QUICK = ("--context", 5, "--tokens", 1, "--rounds", 2, "--points", 3, "--device", "cpu")


def measured(model: Path, out: Path, *more: str) -> Said:
    """Run it as quickly as it can be."""
    return gp("measure", model, "-o", out, *QUICK, *more)


def test_a_record_is_written_and_shown(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """As a table, with the command that repeats it; run again, it is replaced."""
    out = tmp_path / "new" / "machine.json"
    done = measured(tiny("qwen3"), out)
    record = read_machine_record(out)
    again = measured(tiny("qwen3"), out)

    assert (done.code, again.code) == (0, 0)
    assert [line.split()[0] for line in done.out.splitlines()[2:7]] == ["all", "2", "0", "12", "0"]
    assert record.command[:2] == ("gp", "measure")
    assert read_machine_record(out).seconds != record.seconds
    assert files_below(tmp_path) == {"new", "new/machine.json"}


def test_json_is_the_record(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """One document on stdout; doubts go to stderr and stand in it."""
    out = tmp_path / "machine.json"
    done = measured(tiny("llama"), out, "--rounds", "1", "--json")

    assert done.json == json.loads(out.read_text())
    assert done.json["format"] == "globalprune.machine/1"
    assert "warning: one round can't tell latency from noise; take more --rounds." in done.err
    assert done.json["warnings"]


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("notes.json", (), "notes.json: is there and is no record of latencies; name another"),
        ("machine.txt", (), "machine.txt: is not called .json; name a .json file with -o"),
        (".", (), "is a folder, where a file should be written"),
        ("{model}/machine.json", (), "lies inside the model's folder"),
        ("m.json", ("--context", "2048"), "pass the 256 positions that .* was made for; name 254"),
        ("m.json", ("--points", "1"), "--points 1: must be at least 2"),
        ("m.json", ("--dtype", "int3"), "--dtype int3: is not a precision"),
    ],
    ids=["notes", "no json", "a folder", "into the model", "context", "points", "dtype"],
)
def test_words_that_cannot_be_meant(
    tiny: Callable[[str], Path], tmp_path: Path, out: str, words: tuple[str, ...], message: str
) -> None:
    """They are answered before any work, and nothing is written."""
    (tmp_path / "notes.json").write_text("{}")
    place = tmp_path / out.format(model=tiny("llama"))

    refused(measured(tiny("llama"), place, *words), message)
    assert files_below(tmp_path) == {"notes.json"}
