"""What gp eval -o leaves behind, and what is said of a file that was spoiled."""

import csv
import io
import json
from pathlib import Path

import pytest
from records import comparison_of, model_result, speed_of

from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_table import (
    evaluation_csv,
    evaluation_markdown,
    read_evaluation,
    write_evaluation,
)
from globalprune.errors import RecordInvalid


@pytest.fixture
def comparison() -> Comparison:
    """Two models, with a name that could break a table, and something doubtful."""
    first = model_result("a|b", speed=speed_of(1.0, 1.5), warnings=("it has seen the text.",))
    second = model_result("cut", parameters=15_000_000, speed=speed_of(0.5, 0.6))
    return comparison_of(first, second, warnings=("both are tiny.",))


def test_what_was_written_is_read(comparison: Comparison, tmp_path: Path) -> None:
    """Every sum and round, to the last bit."""
    write_evaluation(tmp_path, comparison)
    assert read_evaluation(tmp_path / "evaluation.json") == comparison
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"evaluation.json", "evaluation.csv", "evaluation.md"}


def test_the_csv_has_a_row_for_every_model_and_figure(comparison: Comparison) -> None:
    """In base units and full precision, with errors and how the difference is meant."""
    rows = list(csv.DictReader(io.StringIO(evaluation_csv(comparison))))
    assert len(rows) == 2 * 8
    found = {(row["model"], row["metric"]): row for row in rows}
    parameters = found["cut", "parameters"]
    assert (parameters["value"], parameters["difference"]) == ("15000000", "-0.25")
    assert (parameters["standard_error"], parameters["difference_is"]) == ("", "fraction")
    first, second = (found[name, "time to first token"] for name in ("a|b", "cut"))
    assert (first["value"], first["unit"], first["difference"]) == ("1.25", "s", "")
    assert second["difference_is"] == "fraction, paired"
    assert float(second["difference_standard_error"]) > 0


def test_the_page_has_the_table_and_all_that_it_rests_on(comparison: Comparison) -> None:
    """Text, machine, versions, command and doubts; a name can't break the table."""
    lines = evaluation_markdown(comparison).splitlines()
    assert lines[0] == r"| | a\|b | cut |"
    assert "| parameters | 20,000,000 | 15,000,000<br>-25.0 % |" in lines
    text = "\n".join(lines)
    assert "text: 1 window of 8 tokens of test" in text
    assert "float32 on cpu (a processor, 2 threads), the KV cache too, batch size 1" in text
    assert "median of 2 rounds after a warm-up, models in turn" in text
    assert "- `gp eval test/model`" in lines
    assert r"- warning: a\|b: it has seen the text." in lines
    assert "- warning: both are tiny." in lines


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """With what to name instead."""
    with pytest.raises(
        RecordInvalid, match=r"gone\.json: can't be read \(No such file.*gp eval wrote"
    ):
        read_evaluation(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"e\.json: is not JSON \(.*\); run gp eval again"),
        (
            '{"format": "globalprune.evaluation/2"}',
            r"e\.json: is not an evaluation; run gp eval again\.\n  models: Field required",
        ),
        (
            '{"format": "globalprune.evaluation/1"}',
            r"is of format globalprune\.evaluation/1, this globalprune reads globalprune\.eval",
        ),
        ('{"format": "globalprune.analysis/1"}', r"is of format globalprune\.analysis/1, which is"),
    ],
    ids=["not json", "empty", "older", "another record"],
)
def test_a_spoiled_file_is_said(tmp_path: Path, content: str, message: str) -> None:
    """Where, what was found, and what to do."""
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(RecordInvalid, match=message):
        read_evaluation(tmp_path / "e.json")


def test_unknown_keys_are_refused(comparison: Comparison, tmp_path: Path) -> None:
    """By their place in the file."""
    content = json.loads(comparison.model_dump_json())
    content["models"][1]["speeed"] = 1
    (tmp_path / "e.json").write_text(json.dumps(content))
    with pytest.raises(RecordInvalid, match=r"models\.1\.speeed: Extra inputs are not permitted"):
        read_evaluation(tmp_path / "e.json")
