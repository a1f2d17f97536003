"""An analysis whose plan ruins the model is doubted, told everywhere, and not cut by unasked."""

import json
from pathlib import Path

import pytest
from command_line import Said, files_below, gp
from trials import save_trained, write_letter_sums

from globalprune.artifacts.analyses.analysis import read_analysis_record
from globalprune.artifacts.analyses.reliability import Trial

DOUBT = "doubted: the plan of "


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with norms behind its sublayers and a single KV head, and text beside it."""
    folder = tmp_path_factory.mktemp("trained")
    write_letter_sums(folder / "text.jsonl")
    return save_trained(folder / "model")


def without_secants(patch: pytest.MonkeyPatch) -> None:
    """Let gates be measured as if no norm stood behind them, which hides a single KV head."""
    patch.setattr("globalprune.statistics.hooks.post_norm_module", lambda *_: None)


def measure(command: str, trained: Path, *options: str | Path | float) -> Said:
    """Run a command that measures the model on the text."""
    text = ("--data", trained.parent / "text.jsonl", "--samples", 16)
    return gp(command, trained, *text, *options)


def trial_in(folder: Path) -> Trial:
    """The trial of an analysis."""
    trial = read_analysis_record(folder / "analysis.json").trial
    assert trial is not None
    return trial


@pytest.fixture(scope="module")
def doubted(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default analysis without the secant gate: blind to attention."""
    out = tmp_path_factory.mktemp("doubted") / "analysis"
    with pytest.MonkeyPatch.context() as patch:
        without_secants(patch)
        done = measure("analyze", trained, "-o", out, "--ratio", 0.2)
    assert done.code == 0, done.err
    assert done.out.startswith(DOUBT)
    return out


def test_a_sound_analysis_is_not_doubted(trained: Path, tmp_path: Path) -> None:
    """Rows that nothing was measured with judge it, and its first plan is what is tried."""
    done = measure("analyze", trained, "-o", tmp_path / "a", "--ratio", 0.2, "--json")
    trial = trial_in(tmp_path / "a")

    assert done.code == 0, done.err
    assert next(iter(done.json)) == "doubt"
    assert done.json["doubt"] is None
    assert (trial.unused, trial.windows, trial.predicted_tokens) == (True, 6, 6 * 32)
    assert trial.plan.parameters == done.json["plan"]["removed"]
    assert trial.loss is not None
    assert trial.loss < 1.5 < trial.guessing
    assert not (tmp_path / "a" / "description.txt").read_text("utf-8").startswith(DOUBT)


def test_a_doubt_is_the_first_thing_said(doubted: Path) -> None:
    """What the plan costs, and that MLPs alone would cost less; in the file for people too."""
    trial = trial_in(doubted)
    text = (doubted / "description.txt").read_text("utf-8")

    assert trial.doubted
    assert trial.best_other is not None
    assert trial.best_other.name == "mlp"
    assert text.startswith(DOUBT)
    assert "Plan with --only mlp" in text.splitlines()[0]
    assert "trial: " in text


def test_every_command_that_reads_the_analysis_repeats_it(
    trained: Path, doubted: Path, tmp_path: Path
) -> None:
    """First, in text and JSON; the comment of the plan says it too, and is known again."""
    plan = doubted / "plan.yaml"
    page = tmp_path / "page.html"
    again = gp("plan", doubted, "--ratio", 0.2)
    for done in (again, gp("check", plan, "--write"), gp("show", plan), gp("show", doubted)):
        assert done.code == 0, done.err
        assert done.out.startswith(DOUBT)
    for done in (
        gp("plan", doubted, "--ratio", 0.1, "-o", tmp_path / "other.yaml", "--json"),
        gp("check", plan, "--json"),
        gp("show", doubted, "--json"),
    ):
        assert done.out.lstrip("{ \n").startswith(f'"doubt": "{DOUBT}')
    assert plan.read_text("utf-8").count(DOUBT) == 1
    assert gp("report", doubted, plan, "-o", page).code == 0
    assert page.read_text("utf-8").count(DOUBT) == 2
    swept = gp("sweep", trained, "--plan", plan, "--eval", trained.parent / "text.jsonl",
               "-o", tmp_path / "swept")  # fmt: skip
    assert swept.code == 0, swept.err
    assert f"warning: {DOUBT}" in swept.err


def test_scores_that_were_not_tried_are_not_doubted(doubted: Path, tmp_path: Path) -> None:
    """A plan by another normaliser is another plan."""
    other = tmp_path / "other.yaml"
    done = gp("plan", doubted, "--ratio", 0.1, "--normaliser", "mean", "-o", other)

    assert done.code == 0, done.err
    assert DOUBT not in done.out + gp("check", other).out


def test_pruning_stops_before_it_cuts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1; analysis and plan are kept, and gp apply cuts by the plan all the same."""
    without_secants(monkeypatch)
    recipe = ("--importance", "fisher", "--no-compensate", "--ratio", 0.2, "--rounds", 2)
    done = measure("prune", trained, "-o", tmp_path / "out", *recipe)
    kept = tmp_path / "out.analysis"

    assert done.code == 1
    assert done.err.splitlines()[-2].startswith(f"gp: {DOUBT}")
    assert f"gp apply {trained} --plan {kept / 'plan.yaml'} -o {tmp_path / 'out'}" in done.err
    assert not done.out
    assert {path.name for path in tmp_path.iterdir()} == {"out.analysis"}
    assert {"analysis.json", "groups.parquet", "plan.yaml"} <= files_below(kept)
    refused_at_once = measure("prune", trained, "-o", tmp_path / "out", *recipe)
    assert refused_at_once.code == 2
    assert "out.analysis: is not empty" in refused_at_once.err

    applied = gp("apply", trained, "--plan", kept / "plan.yaml", "-o", tmp_path / "out", "--json")
    assert applied.code == 0, applied.err
    assert json.loads(applied.out)["warnings"][0].startswith(DOUBT)
    assert f"warning: {DOUBT}" in applied.err
