"""`gp sweep`: many plans, one table and one curve; a stopped sweep goes on where it stood."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from command_line import gp, refused

from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.sweep import read_sweep
from globalprune.artifacts.plans.plan_file import PlanFile
from globalprune.cli.console import Interrupted
from globalprune.pipeline import sweep

Tiny = Callable[[str], Path]
JUDGED = ("--eval-samples", 3, "--eval-seq-len", 24)
REPAIRED = ("--data", "builtin", "--samples", 6, "--seq-len", 24, "--gate-steps", 0)


@pytest.fixture(scope="module")
def analysis(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One analysis with an importance that counts on compensation, and one that doesn't."""
    folder = tmp_path_factory.mktemp("sweep") / "analysis"
    done = gp(
        "analyze", tiny("llama"), "-o", folder, "--data", "builtin", "--samples", 6,
        "--seq-len", 24, "--importance", "taylor", "--importance", "obs",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


def test_masks_are_judged_as_gp_eval_judges_them(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """A row for the model as it is and for each plan, in every file; also for what has no plan."""
    model, out = tiny("llama"), tmp_path / "swept"
    ratios = ("--ratio", 0.1, "--ratio", 0.3, "--ratio", 0.97)
    done = gp("sweep", model, "--analysis", analysis, *ratios, "-o", out, *JUDGED)
    plans = [out / "plans" / "taylor" / f"plan-{ratio}.yaml" for ratio in ("0.10", "0.30")]
    judged = gp(
        "eval", model, "--plan", plans[0], "--plan", plans[1],
        "--samples", 3, "--seq-len", 24, "--no-speed", "--json",
    ).json  # fmt: skip
    swept = read_sweep(out / "sweep.json")
    rows = list(csv.DictReader((out / "sweep.csv").read_text("utf-8").splitlines()))

    assert done.code == 1
    assert "--ratio 0.97 asks for more than the measured groups allow" in done.err
    found = [swept.dense, *(point.result for point in swept.points)]
    assert [one.perplexity.value for one in found] == [
        one["perplexity"]["value"] for one in judged["models"]
    ]
    assert [row["line"] for row in rows] == ["as it is", "taylor", "taylor", "taylor"]
    assert [row["plan"] for row in rows[1:3]] == [str(p.relative_to(out)) for p in plans]
    assert rows[3]["note"].startswith("can't be reached: --ratio 0.")
    assert "| taylor | 97.0 % |  |  | can't be reached: --ratio 0." in done.out
    assert done.out == (out / "sweep.md").read_text("utf-8")
    drawn = (out / "sweep.svg").read_text("utf-8")
    assert drawn.startswith("<?xml")
    assert "<!-- taylor -->" in drawn


def test_the_same_command_judges_nothing_again(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """And one more ratio judges only that."""
    command = ("sweep", tiny("llama"), "--analysis", analysis, "-o", tmp_path, *JUDGED)
    first = gp(*command, "--ratio", 0.1, "--json").json
    curve = (tmp_path / "sweep.svg").read_bytes()
    with mock.patch("globalprune.evaluation.perplexity.load_candidate") as loading:
        again = gp(*command, "--ratio", 0.1, "--json").json
    assert curve == (tmp_path / "sweep.svg").read_bytes()
    more = gp(*command, "--ratio", 0.1, "--ratio", 0.2, "--json").json

    assert not loading.called
    assert again["points"][0]["result"]["perplexity"] == first["points"][0]["result"]["perplexity"]
    assert len(more["points"]) == 2
    assert [bool(p["result"]["from_earlier_run"]) for p in more["points"]] == [True, False]


def test_what_counts_on_compensation_is_cut_and_let_go(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """Lines of a mask and of cuts in one sweep; a stop between cut and judgement loses no cut."""
    command = (
        "sweep", tiny("llama"), "--analysis", analysis, "--importance", "taylor",
        "--importance", "obs", "--ratio", 0.3, "-o", tmp_path, *JUDGED, *REPAIRED, "--json",
    )  # fmt: skip
    evaluate_in = sweep.evaluate_in

    def stopped(run: Any, models: list[Any], masks: Sequence[PlanFile] = ()) -> Comparison:
        """Evaluate the model and the masks, and stop at the first cut."""
        if models != [run.model]:
            raise OSError("stopped")
        return evaluate_in(run, models, masks)

    with mock.patch.object(sweep, "evaluate_in", side_effect=stopped):
        assert gp(*command).code == 2
    cut = list((tmp_path / "models").iterdir())
    with mock.patch.object(sweep, "run_stages") as cutting:
        done = gp(*command)
    points = {point["line"]: point for point in done.json["points"]}

    assert len(cut) == 1
    assert not cutting.called
    assert set(points) == {"taylor", "obs, compensated"}
    assert points["obs, compensated"]["compensated"]
    assert points["obs, compensated"]["result"]["file_bytes"]
    assert not list((tmp_path / "models").iterdir())
    with mock.patch.object(sweep, "run_stages") as cutting:
        again = gp(*command).json["points"]
    assert [p["result"]["perplexity"] for p in again] == [
        p["result"]["perplexity"] for p in done.json["points"]
    ]
    assert all(p["result"]["from_earlier_run"] for p in again)
    assert not cutting.called


def test_a_plan_of_ones_own_is_a_line_of_its_own(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """With what its target says; without compensation a warning names it."""
    mine = tmp_path / "mine.yaml"
    gp("plan", analysis, "--ratio", 0.2, "--importance", "obs", "--min-mlp", 1, "-o", mine)
    out = tmp_path / "out"
    done = gp(
        "sweep", tiny("llama"), "--plan", mine, "-o", out, "--no-compensate", *JUDGED, "--json"
    )

    assert [point["line"] for point in done.json["points"]] == ["obs, min_mlp 1"]
    assert f"{mine}: counts on compensation, and is evaluated without it" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no plan to evaluate: name --analysis DIR, or --plan PLAN"),
        (("--ratio", 0.2), "--ratio and --importance: plan from an analysis; name --analysis"),
        (("--plan", "none.yaml"), "none.yaml"),
        (("--no-compensate", "--data", "builtin"), "--data: only compensation reads that"),
    ],
)
def test_bad_words_are_refused(
    tiny: Tiny, tmp_path: Path, words: tuple[str | float, ...], message: str
) -> None:
    """Before a model is run."""
    refused(gp("sweep", tiny("llama"), "-o", tmp_path / "out", *words), message)
    assert not (tmp_path / "out").exists()


def test_a_ratio_that_cannot_be_had_stops_before_judging(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """Exit code 1, as gp plan has it."""
    out = tmp_path / "out"
    done = gp("sweep", tiny("llama"), "--analysis", analysis, "--ratio", 0.99, "-o", out)

    assert done.code == 1
    assert "ratio 0.99 asks for" in done.err
    assert not (out / "sweep.json").exists()


def test_other_text_is_repaired_on_anew(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """The same file with other content gives another point."""
    text = tmp_path / "text.txt"
    command = (
        "sweep", tiny("llama"), "--analysis", analysis, "--importance", "obs", "--ratio", 0.3,
        "-o", tmp_path / "out", *JUDGED, "--data", text, "--samples", 6, "--seq-len", 24,
        "--gate-steps", 0, "--json",
    )  # fmt: skip
    found = []
    for words in ("to be or not to be, ", "the quick brown fox "):
        text.write_text(words * 60, "utf-8")
        (point,) = gp(*command).json["points"]
        found.append(point["result"]["perplexity"]["value"])

    assert found[0] != found[1]


def test_kept_models_stay(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """Asked for later they are cut again; a sweep without the wish lets those alone."""
    command = (
        "sweep", tiny("llama"), "--analysis", analysis, "--importance", "obs", "--ratio", 0.3,
        "-o", tmp_path, *JUDGED, *REPAIRED,
    )  # fmt: skip
    counts = []
    for more in ((), ("--keep-models",), ()):
        assert gp(*command, *more).code == 0
        counts.append(len(list((tmp_path / "models").iterdir())))

    assert counts == [0, 1, 1]


def test_a_strangers_folder_is_left_alone(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """Plans lie in many folders."""
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "mine.yaml").write_text("mine", "utf-8")
    said = gp("sweep", tiny("llama"), "--analysis", analysis, "-o", tmp_path, *JUDGED)
    refused(said, "is not empty")


def test_plans_made_in_other_ways_are_no_line(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """A curve joins only what differs in how much goes."""
    plain, pinned, edited = (tmp_path / f"{name}.yaml" for name in ("plain", "pinned", "edited"))
    for path in (plain, edited):
        gp("plan", analysis, "--ratio", 0.2, "-o", path)
    text = edited.read_text("utf-8")
    edited.write_text(text[: text.index("\nlayers:")] + "\nlayers:\n  1: {mlp: 0-3}\n", "utf-8")
    text = plain.read_text("utf-8")
    pinned.write_text(text.replace("\nlayers:", "\npin: {1: {mlp: {keep: 0}}}\nlayers:"), "utf-8")
    gp("plan", analysis, "--ratio", 0.3, "-o", pinned, "--overwrite")
    done = gp(
        "sweep", tiny("llama"), "--plan", plain, "--plan", pinned, "--plan", edited,
        "-o", tmp_path / "out", *JUDGED, "--json",
    )  # fmt: skip

    assert [point["line"] for point in done.json["points"]] == [
        "taylor",
        "taylor, pinned",
        "taylor, edited (edited)",
    ]


def test_a_sweep_that_was_interrupted_says_how_it_goes_on(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """Whatever it was at; gp eval without a folder says that nothing was kept."""
    out = tmp_path / "out"
    with mock.patch("globalprune.pipeline.sweep.evaluate_in", side_effect=Interrupted(2)):
        swept = gp("sweep", tiny("llama"), "--analysis", analysis, "--ratio", 0.2, "-o", out)
    with mock.patch("globalprune.evaluation.comparison.evaluate_model", side_effect=Interrupted(2)):
        judged = gp("eval", tiny("llama"), "--samples", 1, "--seq-len", 24)

    assert swept.code == judged.code == 130
    assert f"gp: {out} keeps what is evaluated; the same command continues." in swept.err
    assert "gp: nothing is kept without -o DIR." in judged.err
