"""Words that can't be meant: a message, exit code 2, and not a file left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from analyses import saved_analysis
from command_line import files_below, gp, refused

from globalprune.options import PlanOptions
from globalprune.planning.write import write_plans

WORDS = {
    "no folder": ("plan gone --ratio 0.2", "gone: there is no such folder"),
    "percent": ("plan {dir} --ratio 20", "--ratio 20.0: must be at least 0"),
    "two plans, one file": ("plan {dir} --ratio 0.1 --ratio 0.2 -o a.yaml", "one file for 2 plans"),
    "csv is a table": (
        "plan {dir} --ratio 0.1 --csv {dir}/groups.parquet",
        "is not called .csv; name a .csv file",
    ),
    "csv is a person's": ("plan {dir} --ratio 0.1 --csv notes.csv", "is there and is no such tab"),
    "plan is no yaml": (
        "plan {dir} --ratio 0.1 -o notes.csv",
        r"is called \.csv, and a plan is YAML; name a \.yaml",
    ),
    "into the model": ("analyze {llama} -o {llama}/a --data builtin", "lies inside the model's fo"),
    "csv is a folder": ("plan {dir} --ratio 0.1 --csv {dir}", "is a folder, where a file should"),
    "plan is a file": ("plan {dir}/plan.yaml --ratio 0.1", "plan.yaml: is a file; name a folder"),
    "explained nowhere": (
        "apply {llama} --plan {dir}/plan.yaml --explain -o {llama}",
        "was made for test/model, whose structure is",
    ),
    "no column": (
        "plan {dir} --ratio 0.1 --importance x",
        "no column importance_x of numbers; it has mine",
    ),
    "no plan": ("check gone.yaml", "gone.yaml: 1 problem\n  can't be read"),
    "no second plan": ("diff {dir}/plan.yaml gone.yaml", "gone.yaml: 1 problem\n  can't be read"),
    "nowhere to write": ("apply {llama} --plan {dir}/plan.yaml", "-o OUT is missing"),
    "no model": ("eval ./gone", "./gone: no such file or folder"),
    "overlap": ("eval {llama} --stride 3", "would overlap"),
    "no layers": ("analyze {llama} -o a --layers 3:9", "has 4 layers"),
    "no method": ("analyze {llama} -o a --importance x", "x is not known; there are taylor"),
    "no first plan": ("analyze {llama} -o a --ratio 2", "--ratio 2.0: must be at least 0"),
    "negative seed": ("analyze {llama} -o a --data builtin --seed -1", "--seed -1: must be at l"),
    "no device": ("analyze {llama} -o a --device tpu9", "--device tpu9"),
    "no precision": ("analyze {llama} -o a --dtype int3", "--dtype int3"),
    "occupied": ("analyze {llama} -o {llama} --data builtin", "is not empty"),
}


@pytest.mark.parametrize("name", WORDS)
def test_words_that_cannot_be_meant(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """They are answered before any work."""
    words, message = WORDS[name]
    analysis = saved_analysis(tmp_path / "analysis")
    write_plans(analysis, PlanOptions((0.2,)))
    (tmp_path / "notes.csv").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)
    told = [word.format(dir=analysis.folder, llama=tiny("llama")) for word in words.split()]

    refused(gp(*told), message)
    assert files_below(tmp_path) == before
