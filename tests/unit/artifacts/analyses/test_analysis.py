"""analysis.json: what is written is read back, and what contradicts itself is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from artifact_values import record_of, structure_of, table_of

from globalprune.artifacts.analyses.analysis import (
    AnalysisRecord,
    read_analysis_record,
    write_analysis_record,
)
from globalprune.artifacts.analyses.reliability import Reliability
from globalprune.errors import RecordInvalid

STRUCTURE = structure_of()
RECORD = record_of(STRUCTURE, table_of(STRUCTURE))
Json = dict[str, Any]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Give the record's file."""
    path = tmp_path / "analysis.json"
    write_analysis_record(path, RECORD)
    return path


def test_a_record_reads_back_as_it_was(written: Path) -> None:
    """Plain JSON with a newline at its end."""
    assert read_analysis_record(written) == RECORD
    text = written.read_text()
    assert json.loads(text)["format"] == "globalprune.analysis/1"
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seconds": 99.0, "peak_memory_bytes": 7}, True),
        ({"command": "gp analyze elsewhere", "warnings": ("slow",)}, True),
        ({"table": "sha256:1"}, True),
        ({"reliability": {"fisher": Reliability(rank_correlation=1, cuts=())}}, True),
        ({"dtype": "bfloat16"}, False),
        ({"layers": (0, 3)}, False),
        ({"versions": {"torch": "3"}}, False),
    ],
    ids=["price", "words", "table", "reliability", "precision", "layers", "versions"],
)
def test_the_identity_is_of_what_was_measured_and_how(change: Json, *, same: bool) -> None:
    """The table cites it, so it can't hold the table's digest; a price changes nothing."""
    assert (RECORD.model_copy(update=change).identity == RECORD.identity) is same


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not json", b'{"format": "\xff"}', RECORD.model_dump_json().encode()[:900]],
    ids=["empty", "brace", "text", "no UTF-8", "cut short"],
)
def test_what_is_no_json_is_refused(written: Path, content: bytes) -> None:
    """One message, not one a field."""
    written.write_bytes(content)
    with pytest.raises(RecordInvalid, match=r"analysis\.json: is not JSON \(.+\); run gp analyze"):
        read_analysis_record(written)


@pytest.mark.parametrize("name", ["nowhere", "."], ids=["no file", "a folder"])
def test_a_missing_record_is_refused(tmp_path: Path, name: str) -> None:
    """With the system's reason and what to name."""
    with pytest.raises(RecordInvalid, match=r"can't be read \(.+\); name what gp analyze wrote"):
        read_analysis_record(tmp_path / name)


def edit(path: Path, change: Callable[[Json], None]) -> None:
    """Change the record's JSON."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def stored(**changes: Any) -> Json:
    """How a model of that structure is stored, changed."""
    whole = {"file_bytes": 9, "overhead": 1, "numbers": {"F32": 10**6}, "group_bytes": [[1, 1]] * 4}
    return whole | changes


MALFORMED: dict[str, tuple[Callable[[Json], Any], str]] = {
    "missing": (
        lambda record: record["model"].pop("parameters"),
        r"is not an analysis record; run gp analyze again\.\n  model\.parameters: Field required$",
    ),
    "unknown": (lambda record: record.update(extra=1), r"\n  extra: Extra inputs are not permitte"),
    "deep": (
        lambda record: record["structure"]["layers"][2]["mlp"].update(groups=-1),
        r"\n  structure\.layers\.2\.mlp\.groups: Input should be greater than or equal to 0",
    ),
    "no format": (
        lambda record: record.pop("format"),
        r"analysis\.json: names no format; add `for",
    ),
    "other format": (
        lambda record: record.update(format="x"),
        r"is of format x, which is not globalprune\.analysis/1; name another file, or run gp analy",
    ),
    "newer format": (
        lambda record: record.update(format="globalprune.analysis/2", extra=1, layers=None),
        (
            r"analysis\.json: is of format globalprune\.analysis/2, this globalprune "
            r"reads globalprune\.analysis/1; install the globalprune that wrote it, or run gp "
            r"analyze again\.$"
        ),
    ),
    "no such layers": (
        lambda record: record.update(layers=[2, 5]),
        r"measured layers 2:5 of a model of 4; run gp analyze again\.",
    ),
    "no layers": (
        lambda record: record.update(layers=[2, 2]),
        r"measured layers 2:2 of a model of",
    ),
    "edited structure": (
        lambda record: record["structure"]["layers"][0]["mlp"].update(cost=11),
        (
            r"model\.structure_fingerprint is sha256:\w+, but its structure has sha256:\w+: "
            r"the file was edited; run gp analyze again\."
        ),
    ),
    "default that was not measured": (
        lambda record: record.update(default_importance="taylor"),
        r"default_importance 'taylor' is none of the methods \(fisher, wanda\); run gp analyze",
    ),
    "storage of other layers": (
        lambda record: record["model"].update(storage=stored(group_bytes=[[1, 1]])),
        r"model\.storage says the groups' bytes of 1 layers of 4; run gp analyze again\.",
    ),
    "storage of no dtype": (
        lambda record: record["model"].update(storage=stored(numbers={})),
        r"model\.storage counts numbers of no dtype, and a model has others; run gp",
    ),
    "storage of a strange dtype": (
        lambda record: record["model"].update(storage=stored(numbers={"F3": 9})),
        r"model\.storage counts numbers of F3, and a model has others; run gp",
    ),
    "storage of less than its groups": (
        lambda record: record["model"].update(storage=stored(numbers={"F32": 1})),
        r"model\.storage gives the groups [\d,]+ bytes of 4; run gp analyze again\.",
    ),
}


@pytest.mark.parametrize(("change", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_record_is_refused(
    written: Path, change: Callable[[Json], Any], message: str
) -> None:
    """The message names the field, what is wrong with it and what to do."""
    edit(written, change)
    with pytest.raises(RecordInvalid, match=message):
        read_analysis_record(written)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_json_of_another_kind_is_refused(written: Path, content: str) -> None:
    """There is no field to name, so the whole is named."""
    written.write_text(content)
    with pytest.raises(
        RecordInvalid, match=r"is not an analysis record.*\n  the whole: Input shou"
    ):
        read_analysis_record(written)


def test_all_problems_are_told_but_not_without_end(written: Path) -> None:
    """Twenty lines and the number of the rest."""
    nothing = dict.fromkeys(AnalysisRecord.model_fields)
    written.write_text(json.dumps(nothing | {"format": RECORD.format}))
    with pytest.raises(RecordInvalid) as caught:
        read_analysis_record(written)
    few = str(caught.value).count("\n")
    assert 10 < few <= 20
    edit(written, lambda record: record.update({f"x{number}": 0 for number in range(30)}))
    with pytest.raises(RecordInvalid, match=r"\n  … and \d+ more$") as caught:
        read_analysis_record(written)
    assert str(caught.value).count("\n") == 21
