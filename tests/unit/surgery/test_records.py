"""OUT/globalprune/: what a person or a script finds there later."""

from collections.abc import Callable
from pathlib import Path

import pytest
from applying import applied, apply_plan, bytes_below, explained, write_record
from cutting import Removals
from measuring import described

from globalprune.artifacts.results.cut import ApplyMetrics, ApplyResult, read_metrics
from globalprune.errors import RecordInvalid, UsageError

Tiny = Callable[[str], Path]
TABLE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
GONE: Removals = {0: {"attention": [1, 2, 3]}, 2: {"mlp": range(10)}}
MINE = """# my own words, ünïcode and all
format: globalprune.plan/1
layers:
    '2': {mlp: "0-9",   # the ten worst
          attention: "1"}
"""


def write_plan_of(folder: Path, *, path: str = "analysis") -> Path:
    """Write a plan that cites the table of the analysis at `path`."""
    cited = f'{{path: "{path}", table: "{TABLE}", importance: taylor}}'
    text = f"format: globalprune.plan/1\nanalysis: {cited}\nlayers: {{0: {{mlp: 3}}}}\n"
    (folder / "plan.yaml").write_text(text)
    return folder / "plan.yaml"


def kept_record(result: ApplyResult) -> bytes | None:
    """The analysis.json that lies in a result."""
    return bytes_below(Path(result.out)).get("globalprune/analysis.json")


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["Unix", "Windows"])
def test_the_plan_is_kept_as_it_was_written(tiny: Tiny, tmp_path: Path, newline: str) -> None:
    """Comments, spelling and line ends of a person are theirs."""
    plan = tmp_path / "by hand.yaml"
    plan.write_bytes(MINE.replace("\n", newline).encode())
    result = apply_plan(tiny("llama"), plan, tmp_path / "out")
    assert (Path(result.out) / "globalprune" / "plan.yaml").read_bytes() == plan.read_bytes()


def test_the_figures_are_those_of_the_result(tiny: Tiny, tmp_path: Path) -> None:
    """metrics.json is what `apply_plan` hands back, without the place that may move."""
    result = applied(tiny("llama"), tmp_path, GONE, command=("gp", "apply", "tiny"))
    out = Path(result.out)
    metrics = read_metrics(out / "globalprune/metrics.json")
    assert metrics == ApplyMetrics(**result.model_dump(exclude={"out"}))
    assert metrics.removed_groups == {"attention": 3, "mlp": 10}
    assert metrics.parameters_before - metrics.parameters_after == 3 * 1536 + 10 * 96
    assert metrics.ratio == (3 * 1536 + 10 * 96) / 50_720
    assert metrics.weight_bytes == 4 * metrics.parameters_after
    assert metrics.weight_bytes < (out / "model.safetensors").stat().st_size
    widths = [(layer.attention_groups, layer.mlp_channels) for layer in metrics.layers]
    assert widths == [(1, 24), (4, 24), (4, 14), (4, 24)]
    assert metrics.command == ("gp", "apply", "tiny")
    assert {"globalprune", "torch", "transformers"} <= metrics.versions.keys()


def test_the_log_tells_what_explain_told(tiny: Tiny, tmp_path: Path) -> None:
    """The command first, then every line, then the time."""
    result = applied(tiny("llama"), tmp_path, GONE, command=("gp", "apply", "tiny"))
    log = (Path(result.out) / "globalprune" / "apply.log").read_text().splitlines()
    told = explained(tiny("llama"), tmp_path / "plan.yaml").lines
    assert log[0] == "gp apply tiny"
    assert tuple(log[1:-1]) == told
    assert log[-1].startswith("done in ")


def test_the_plans_own_analysis_goes_along(tiny: Tiny, tmp_path: Path) -> None:
    """It is looked for beside the plan, wherever the command runs."""
    structure = described(tiny("llama"))[1]
    record = write_record(tmp_path / "analysis", structure, table=TABLE)
    plan = write_plan_of(tmp_path)
    result = apply_plan(tiny("llama"), plan, tmp_path / "out")
    assert kept_record(result) == record.read_bytes()


@pytest.mark.parametrize("damage", ["gone", "of another table", "broken"])
def test_an_analysis_that_moved_on_is_left_out(tiny: Tiny, tmp_path: Path, damage: str) -> None:
    """Its path was only a hint; the cut needs nothing of it, and a wrong record would lie."""
    structure = described(tiny("llama"))[1]
    if damage != "gone":
        record = write_record(tmp_path / "analysis", structure, table=OTHER)
        if damage == "broken":
            record.write_text("{")
    result = apply_plan(tiny("llama"), write_plan_of(tmp_path), tmp_path / "out")
    assert kept_record(result) is None


@pytest.mark.parametrize("by", ["folder", "file"])
def test_a_named_analysis_must_be_the_plans(tiny: Tiny, tmp_path: Path, by: str) -> None:
    """Named as a folder or as the file; the wrong one is refused with both digests."""
    structure = described(tiny("llama"))[1]
    plan = write_plan_of(tmp_path, path="elsewhere")
    right = write_record(tmp_path / "right", structure, table=TABLE)
    wrong = write_record(tmp_path / "wrong", structure, table=OTHER)
    named = {"folder": (right.parent, wrong.parent), "file": (right, wrong)}[by]
    with pytest.raises(UsageError, match=rf"describes table {OTHER}.*made from {TABLE}; name the"):
        apply_plan(tiny("llama"), plan, tmp_path / "out", analysis=named[1])
    assert not (tmp_path / "out").exists()
    result = apply_plan(tiny("llama"), plan, tmp_path / "out", analysis=named[0])
    assert kept_record(result) == right.read_bytes()


def test_a_named_analysis_that_is_not_there_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """What a person names must be found, other than what a plan hints at."""
    with pytest.raises(RecordInvalid, match=r"nowhere: can't be read .*what gp analyze wrote"):
        apply_plan(
            tiny("llama"),
            write_plan_of(tmp_path),
            tmp_path / "out",
            analysis=tmp_path / "nowhere",
        )


def test_a_warning_is_kept_where_it_will_be_found(tiny: Tiny, tmp_path: Path) -> None:
    """In the figures and in the log: the terminal is long closed by then."""
    structure = described(tiny("llama"))[1].fingerprint
    model = f'{{source: tiny, structure: "{structure}", weights: "sha256:0"}}'
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"format: globalprune.plan/1\nmodel: {model}\nlayers: {{}}\n")
    result = apply_plan(tiny("llama"), plan, tmp_path / "out")
    [warning] = result.warnings
    assert "other weights" in warning
    log = (Path(result.out) / "globalprune" / "apply.log").read_text().splitlines()
    assert f"warning: {warning}" in log
