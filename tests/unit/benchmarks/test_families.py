"""The benchmark of families goes on where it was interrupted, and groups its record by reason."""

import json
from pathlib import Path

import families
import pytest


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The benchmark sets the variable; it is restored."""
    monkeypatch.setenv("GLOBALPRUNE_CACHE", str(tmp_path))


def test_types_in_the_record_are_not_tried_again(tmp_path: Path) -> None:
    """One line is one type."""
    record = tmp_path / "record.jsonl"
    known = {"type": "cohere", "verdict": "crash", "seconds": 1.0, "text": "as recorded"}
    record.write_text(json.dumps(known) + "\n")

    families.main(record, ["cohere", "opt"])

    lines = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
    assert lines[0] == known
    assert [(one["type"], one["verdict"]) for one in lines] == [
        ("cohere", "crash"),
        ("opt", "refused"),
    ]


@pytest.mark.slow
def test_a_served_type_goes_through_every_phase(tmp_path: Path) -> None:
    """Its verdict says what was cut."""
    families.main(tmp_path / "record.jsonl", ["arcee"])

    (one,) = map(json.loads, (tmp_path / "record.jsonl").read_text("utf-8").splitlines())
    assert (one["verdict"], one["text"]) == ("served", "attention and mlp")


def test_the_tables_join_types_with_one_reason() -> None:
    """Whatever number a layer has."""
    reason = "layer {} has a mixture of experts in place of an MLP"
    results = [
        {"type": "b", "verdict": "refused", "seconds": 0.1, "text": reason.format(3)},
        {"type": "a", "verdict": "refused", "seconds": 0.1, "text": reason.format(0)},
        {"type": "c", "verdict": "served", "seconds": 1.0, "text": "attention and mlp"},
    ]

    lines = list(families._tables(results))

    assert "| attention and mlp | `c` |" in lines
    assert "| a layer has a mixture of experts in place of an MLP | `a`, `b` |" in lines
