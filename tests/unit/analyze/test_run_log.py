"""analyze.log: what happened when, and what came out, layer by layer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from analysing import analysed

from globalprune.analyze.run_log import RunLog, layer_summary
from globalprune.artifacts.analyses.group_table import GroupTable


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


def test_a_half_is_summed_up_by_its_spread_and_its_share() -> None:
    """Scores are spread, importances shared; a half that wasn't measured has no line."""
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
