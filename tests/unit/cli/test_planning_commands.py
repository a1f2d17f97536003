"""What `gp plan` and `gp show` say: figures, what is in the way, and documents for programs."""

import json
from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of
from command_line import gp, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An analysis of three layers."""
    return saved_analysis(tmp_path / "analysis", structure_of(((2, 8), (2, 8), (2, 8)))).folder


def test_a_plan_says_what_it_loses_and_the_least(folder: Path) -> None:
    """Beside every other plan of its size."""
    done = gp("plan", folder, "--ratio", 0.2)

    assert done.code == 0
    assert "importance lost: " in done.out
    assert "any plan of this size keeps" in done.out
    assert "(sums of importance are no perplexity)" in done.out


def test_the_document_tells_every_budget_and_the_gap(folder: Path) -> None:
    """One JSON document, whatever has to be solved."""
    done = gp(
        "plan", folder, "--ratio", 0.2, "--kv-cache", "40B", "--max-layer-ratio", 0.7, "--json"
    )  # fmt: skip
    (plan,) = json.loads(done.out)["plans"]

    assert plan["asked"] == {"ratio": 0.2, "kv_cache": 40, "dtype": "bfloat16"}
    assert [budget["reached"] for budget in plan["budgets"]] == [True, True]
    assert plan["budgets"][1]["after"] <= 40
    assert 0 <= plan["gap"] < 1
    assert plan["importance_kept"] <= plan["importance_kept_at_most"]


def test_what_is_in_the_way_is_named(folder: Path) -> None:
    """Of several constraints those that matter; the largest plan is written."""
    bounds = ("--max-layer-ratio", 0.2, "--min-mlp", 1)
    done = gp("plan", folder, "--ratio", 0.5, *bounds, "-o", folder / "a.yaml")

    assert done.code == 1
    assert "min_mlp and max_layer_ratio and the measured groups allow" in done.err
    assert done.err.rstrip().endswith("Ask for less, or do without max_layer_ratio.")
    assert (folder / "a.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"no budget: say how much to remove with --ratio 0.2"),
        (("--params", "few"), r"--params few: is no amount"),
        (("--ratio", "0.2", "--only", "both"), r"--only both: should be 'attention' or 'mlp'"),
        (("--ratio", "0.2", "--from", "none.yaml"), r"none\.yaml"),
    ],
)
def test_bad_words_are_refused(folder: Path, words: tuple[str, ...], message: str) -> None:
    """Before anything is written."""
    refused(gp("plan", folder, *words), message)


def test_an_analysis_is_shown_by_its_importances(folder: Path) -> None:
    """A line a layer, shares of the whole."""
    done = gp("show", folder)
    document = json.loads(gp("show", folder, "--json").out)
    shares = [
        half["importance"] for layer in document["layers"] for half in layer["halves"].values()
    ]

    assert [line.split()[0] for line in done.out.splitlines()] == ["layer", "0", "1", "2"]
    assert sum(shares) == pytest.approx(1)


def test_a_plan_is_shown_by_what_it_keeps(folder: Path) -> None:
    """Bars, counts, and what is dropped."""
    path = folder / "mine.yaml"
    path.write_text(
        'format: globalprune.plan/1\nlayers:\n  0: {mlp: "0-1"}\n  2: {attention: all, mlp: all}\n',
        "utf-8",
    )
    refused(gp("show", path), r"its analysis is needed for the sizes of the layers")
    lines = gp("show", path, "--analysis", folder).out.splitlines()

    assert lines[0].startswith("removes ")
    assert "6 of 8" in lines[2]
    assert lines[4].endswith("dropped")
