"""description.txt: the record for people."""

from collections.abc import Callable
from pathlib import Path

import pytest
from analysing import analysed, write_ids
from tiny_models import random_ids

from globalprune.analysis.output import RunLog, describe, layer_summary
from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable

Tiny = Callable[[str], Path]


def lines_of(text: str) -> dict[str, str]:
    """Each line's `what` and its value."""
    pairs = (line.split(":", 1) for line in text.splitlines())
    return {what: value.strip() for what, value in pairs}


@pytest.fixture
def record(tiny: Tiny, tmp_path: Path) -> AnalysisRecord:
    """The record of a tiny analysis."""
    methods = ["wanda", "taylor"]
    return analysed(
        tiny("llama"), tmp_path, layers="1:3", importances=methods, normaliser="none"
    ).record


def test_the_loss_is_told_where_a_head_ran(tiny: Tiny, tmp_path: Path) -> None:
    """Taylor's is the model's loss on the text; wanda never knew one."""
    for method, told in (("taylor", "nats a token"), ("wanda", "not needed")):
        analysis = analysed(tiny("llama"), tmp_path, out=method, importances=[method])
        text = (analysis.folder / "description.txt").read_text()
        assert lines_of(text)["loss on the text"].endswith(told)


def test_it_says_what_the_record_says(record: AnalysisRecord) -> None:
    """Model, layers, text and methods, in words."""
    lines = lines_of(describe(record, 1.23456))
    assert lines["loss on the text"] == "1.2346 nats a token"
    assert lines["layers"] == "1:3 of 4"
    assert lines["labels"] == "the text's own next tokens"
    assert lines["importance"] == "wanda (measured: wanda, taylor)"
    assert lines["text"].startswith("5 windows of 10 tokens of ")
    assert lines["text"].endswith("ids.jsonl, 45 predicted tokens")
    assert lines["parameters"] == (
        f"{record.model.parameters:,}, of which {record.model.prunable_parameters:,} in groups"
    )
    assert lines["table"] == record.table
    assert lines["warning"] == record.warnings[0]


def test_a_hub_revision_a_seed_and_a_bos_are_told(record: AnalysisRecord) -> None:
    """Whatever somebody needs who wants the same figures again."""
    text = record.calibration.model_copy(update={"seed": 3, "bos": True})
    model = record.model.model_copy(update={"source": "org/model", "revision": "abc"})
    lines = lines_of(
        describe(record.model_copy(update={"calibration": text, "model": model}), None)
    )
    assert lines["model"] == "org/model@abc (llama)"
    assert lines["text"].endswith("45 predicted tokens, seed 3, BOS first")


def test_the_halves_agreement_is_told_for_every_importance(record: AnalysisRecord) -> None:
    """At every ratio that the measured groups allow; layers 1:3 are too little for half of all."""
    found = record.reliability
    lines = lines_of(describe(record, None))
    assert found["taylor"].cuts
    for name in ("wanda", "taylor"):
        cuts = ", ".join(f"{100 * cut.ratio:.0f} %: {cut.shared:.2f}" for cut in found[name].cuts)
        assert lines[f"halves on {name}"] == (
            f"ranks correlate by {found[name].rank_correlation:.3f}; shared of a cut of {cuts}"
        )


def test_a_normaliser_is_told_with_what_it_normalises(record: AnalysisRecord) -> None:
    """It is that of the importance by which the table is scored."""
    ranked = record.model_copy(update={"normalisers": {"wanda": "rank"}})
    found = lines_of(describe(ranked, None))["importance"]
    assert found == "wanda, normalised by rank (measured: wanda, taylor)"


def test_drawn_labels_are_told_with_their_seed(record: AnalysisRecord) -> None:
    """The text gives no label then."""
    drawn = record.model_copy(update={"labels": "sampled", "label_seed": 4})
    assert lines_of(describe(drawn, None))["labels"] == "drawn from the model, seed 4"


def test_windows_of_several_lengths_are_told(tiny: Tiny, tmp_path: Path) -> None:
    """There is no one length to name."""
    data = write_ids(tmp_path / "rows.jsonl", [*random_ids(1, 4), *random_ids(1, 6)])
    record = analysed(tiny("llama"), tmp_path, data=data).record
    assert "2 windows of their own length of " in describe(record, None)


def test_the_log_holds_the_command_the_phases_and_the_layers(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """In the order in which they happened; what is long stays in analysis.json."""
    analysis = analysed(tiny("llama"), tmp_path, command=("gp", "analyze", "tiny", "-o", "here"))
    text = (analysis.folder / "analyze.log").read_text()
    said = (
        "gp analyze tiny -o here",
        "read the model's structure: ",
        "cut the text into windows: ",
        "load the model: ",
        "run the text through it: ",
        f"table: {analysis.record.table}",
        f"digest: {analysis.record.calibration.digest}",
        "layer  kind       groups",
        "    3  mlp            24",
    )
    places = [text.find(part) for part in said]
    assert -1 not in places
    assert places == sorted(places)
    assert "document_digests" not in text


def test_a_sublayer_is_summed_up_by_its_spread_and_its_share() -> None:
    """Scores are spread, importances shared; a sublayer that wasn't measured has no line."""
    table = GroupTable.build(
        layer_idx=[0, 0, 2, 2, 2],
        group_type=[0, 0, 1, 1, 1],
        group_idx=[0, 1, 0, 1, 2],
        cost=[10, 10, 1, 1, 1],
        importances={"taylor": [20.0, 40.0, 1.0, 9.0, 30.0]},
        metadata={},
    )
    assert layer_summary(table).splitlines()[1:] == [
        "    0  attention       2   2.000e+00   3.000e+00   4.000e+00   60.00%",
        "    2  mlp             3   1.000e+00   9.000e+00   3.000e+01   40.00%",
    ]


def test_a_table_worth_nothing_has_a_summary() -> None:
    """Importances may all be zero; shares are then zero and not a division by it."""
    table = GroupTable.build(
        layer_idx=[0],
        group_type=[1],
        group_idx=[0],
        cost=[1],
        importances={"taylor": [0.0]},
        metadata={},
    )
    assert layer_summary(table).endswith("0.00%")


def test_a_phase_that_failed_is_not_logged_as_done() -> None:
    """Its seconds would look like those of work that ended."""
    log = RunLog("gp")
    with pytest.raises(ZeroDivisionError), log.phase("divide"):
        _ = 1 / 0
    assert "divide" not in log.text()
