"""The main job from the command line: analyze, plan, edit, check, diff, apply, eval."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pyarrow.csv
import pytest
from command_line import gp, refused

from globalprune import load_model
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.cli.console import Interrupted

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def analysis(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one analysis; tests that write take plans of their own."""
    folder = tmp_path_factory.mktemp("job") / "analysis"
    done = gp(
        "analyze", tiny("llama"), "-o", folder, "--data", "builtin", "--samples", 6,
        "--seq-len", 24, "--importance", "taylor", "--importance", "wanda", "--ratio", 0.2,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


def test_the_whole_way(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """A person plans, edits, checks, cuts and judges, and every step says the same figures."""
    plan, model, out = tmp_path / "mine.yaml", tiny("llama"), tmp_path / "out"
    assert gp("plan", analysis, "--ratio", 0.3, "-o", plan).code == 0
    text = plan.read_text("utf-8")
    layer = next(layer for layer, cuts in read_plan(plan).layers.items() if cuts.mlp)
    plan.write_text(text[: text.index(f"\n  {layer}: {{")] + f"\n  {layer}: {{mlp: 0}}  # mine\n")
    checked = gp("check", plan, "--model", model, "--write", "--json")
    loading = gp("check", plan, "--model", model, "--for", "vllm", "--json")
    applied = gp("apply", model, "--plan", plan, "-o", out, "--eval", "builtin", "--json")
    judged = gp("eval", model, out, "--samples", 4, "--seq-len", 32, "--json")

    assert (checked.code, applied.code, judged.code) == (0, 0, 0), judged.err
    assert checked.json["edits"]
    promised = checked.json["figures"]["parameters_after"]
    assert promised == checked.json["fit"]["parameters_after"]
    assert loading.json["loading"]["loads"]
    assert promised == applied.json["parameters_after"]
    assert promised == judged.json["models"][1]["parameters"]
    assert promised == sum(parameter.numel() for parameter in load_model(out).parameters())
    assert len(applied.json["evaluation"]["models"]) == 2


def test_one_analysis_serves_many_ratios(analysis: Path, tmp_path: Path) -> None:
    """Several plans in one call, which gp diff tells apart."""
    done = gp("plan", analysis, "--ratio", 0.1, "--ratio", 0.4, "-o", tmp_path, "--json")
    small, large = (tmp_path / name for name in ("plan-0.10.yaml", "plan-0.40.yaml"))
    differing = gp("diff", small, large, "--json")

    assert [plan["path"] for plan in done.json["plans"]] == [str(small), str(large)]
    removed = [plan["removed"] for plan in done.json["plans"]]
    sides = [differing.json[side]["parameters"] for side in ("only_first", "only_second")]
    assert sides[1] - sides[0] == removed[1] - removed[0]
    assert not differing.json["same"]


def test_a_group_that_a_person_spares_is_in_the_model(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """Law 7 from the command line: a line deleted from the plan is a layer that stays whole."""
    plan = tmp_path / "plan.yaml"
    gp("plan", analysis, "--ratio", 0.3, "-o", plan)
    layer = next(iter(read_plan(plan).layers))
    text = plan.read_text("utf-8")
    start = text.index(f"\n  {layer}: {{")
    plan.write_text(text[:start] + text[text.index("}", start) + 1 :], "utf-8")
    checked = gp("check", plan)
    gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out")

    assert f"layer {layer} mlp: now stays" in checked.out
    mlp = load_model(tmp_path / "out").get_submodule(f"model.layers.{layer}.mlp.up_proj")
    assert mlp.out_features == 24


def test_another_importance_needs_no_model(analysis: Path, tmp_path: Path) -> None:
    """The second method of the pass, normalised; a note says that raw it is no global score."""
    plan = tmp_path / "w.yaml"
    words = ("plan", analysis, "--ratio", 0.3, "--importance", "wanda", "-o", plan)
    assert "not comparable" not in gp(*words).err
    assert "  normaliser: mean\n" in plan.read_text("utf-8")
    done = gp(*words, "--normaliser", "none")

    assert done.code == 0
    assert "wanda is not comparable between layers" in done.err


def test_the_csv_holds_the_table_and_the_choice(analysis: Path, tmp_path: Path) -> None:
    """The full table for spreadsheets, lowest score first, with what goes marked."""
    file, plan = tmp_path / "table.csv", tmp_path / "p.yaml"
    said = gp("plan", analysis, "--ratio", 0.2, "-o", plan, "--csv", file, "--json").json
    table = pyarrow.csv.read_csv(file)
    scores, gone = table["score"].to_pylist(), table["removed"].to_pylist()

    assert table.column_names == [
        "layer_idx", "group_type", "group_idx", "importance", "cost", "score",
        "importance_taylor", "importance_wanda", "cost_kv_cache", "cost_flops", "removed",
    ]  # fmt: skip
    assert scores == sorted(scores)
    costs = [cost for cost, go in zip(table["cost"].to_pylist(), gone, strict=True) if go]
    assert sum(costs) == said["plans"][0]["removed"]


def test_the_csv_has_a_column_for_each_plan(analysis: Path, tmp_path: Path) -> None:
    """Several ratios side by side, a larger one marking more."""
    file = tmp_path / "table.csv"
    gp("plan", analysis, "--ratio", 0.1, "--ratio", 0.4, "-o", tmp_path, "--csv", file)
    table = pyarrow.csv.read_csv(file)

    small, large = (sum(table[f"removed_{ratio}"].to_pylist()) for ratio in ("0.10", "0.40"))
    assert 0 < small < large


def test_an_unreachable_ratio_keeps_what_was_measured(tiny: Tiny, tmp_path: Path) -> None:
    """Exit code 1, or 0 where the ratio was nobody's: the analysis lies there, and no plan."""
    folder = tmp_path / "a"
    words = (
        "analyze", tiny("qwen2"), "-o", folder, "--data", "builtin", "--samples", 2,
        "--seq-len", 16, "--layers", "1:2",
    )  # fmt: skip
    done = gp(*words, "--ratio", 0.9, "--json")

    assert done.code == 1
    assert "ratio 0.9 asks for" in done.err
    assert "no plan was written" in done.err
    assert (done.json["plan"]["written"], done.json["layers"]) == (False, [1, 2])
    assert not (folder / "plan.yaml").exists()
    default = gp(*words, "--overwrite")
    assert default.code == 0, default.err
    assert "note: by the default ratio: " in default.err
    assert (
        "; no plan was written. Ask for no more than that, measure more layers, or" in default.err
    )
    assert gp("plan", folder, "--ratio", 0.9, "--largest").code == 1
    assert list(read_plan(folder / "plan.yaml").layers) == [1]
    assert gp("show", folder).code == 0


def test_an_analysis_that_was_interrupted_says_how_it_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    """And goes on there; in its first minute it says that there is nothing yet."""
    words = (
        "analyze", tiny("llama"), "-o", tmp_path / "out", "--data", "builtin", "--samples", 2,
        "--seq-len", 16, "--importance", "obs", "--ratio", 0.1,
    )  # fmt: skip
    with mock.patch("globalprune.statistics.collect.midpoint", side_effect=Interrupted(2)):
        at_once = gp(*words)
    nothing_left = not list(tmp_path.iterdir())
    with mock.patch("globalprune.obs.removal_order._ordered", side_effect=Interrupted(2)):
        later = gp(*words)

    assert at_once.code == later.code == 130
    assert "gp: nothing is kept yet; run the command again." in at_once.err
    assert nothing_left
    told = "out.unfinished keeps the work; the same command with --resume continues."
    assert told in later.err
    refused(gp(*words), r"out\.unfinished: holds a run that was stopped")
    assert gp(*words, "--resume").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_summary_counts_what_was_measured(tiny: Tiny, tmp_path: Path) -> None:
    """With --layers that is the most that a plan can remove, not what lies in all layers."""
    done = gp(
        "analyze", tiny("llama"), "-o", tmp_path / "a", "--data", "builtin", "--samples", 2,
        "--seq-len", 16, "--layers", "1:2", "--ratio", 0.01,
    )  # fmt: skip
    # q, o: 64 × 32 each; k, v: 32 × 32 each; gate, up, down: 24 × 32 each
    measured = 2 * 64 * 32 + 2 * 32 * 32 + 3 * 24 * 32

    assert f"they hold {measured:,} of " in done.out
    assert f"{measured:,} parameters, the most" in (tmp_path / "a/description.txt").read_text()


def test_analyze_leaves_what_users_of_scripts_had(analysis: Path) -> None:
    """A description of the run, the full table, a plan, a log."""
    names = {path.name for path in analysis.iterdir()}

    assert names >= {
        "groups.parquet", "analysis.json", "plan.yaml", "plan.v1.schema.json", "description.txt",
        "analyze.log",
    }  # fmt: skip
    assert "taylor (measured: taylor, wanda)" in (analysis / "description.txt").read_text("utf-8")


@pytest.mark.parametrize("command", ["check", "apply --explain"])
def test_json_is_alone_on_stdout(tiny: Tiny, analysis: Path, tmp_path: Path, command: str) -> None:
    """One document on stdout whatever is said on stderr."""
    plan = tmp_path / "plan.yaml"
    gp("plan", analysis, "--ratio", 0.3, "-o", plan)
    if command == "check":
        done = gp("check", plan, "--model", tiny("llama"), "--json")
    else:
        done = gp("apply", tiny("llama"), "--plan", plan, "--explain", "--json")

    assert done.code == 0
    assert isinstance(done.json, dict)


def test_a_plan_of_another_model_does_not_fit(tiny: Tiny, analysis: Path, tmp_path: Path) -> None:
    """Check finds a valid plan that doesn't fit (1); apply refuses it (2) and writes nothing."""
    plan = tmp_path / "plan.yaml"
    gp("plan", analysis, "--ratio", 0.3, "-o", plan)
    checked = gp("check", plan, "--model", tiny("qwen3"))
    applied = gp("apply", tiny("qwen3"), "--plan", plan, "-o", tmp_path / "out")

    assert (checked.code, applied.code) == (1, 2)
    for done in (checked, applied):
        assert "whose structure is sha256:" in done.err
    assert not (tmp_path / "out").exists()


def test_a_plan_without_a_model_can_misfit_too(tiny: Tiny, tmp_path: Path) -> None:
    """It is valid in itself, so that it doesn't fit is the answer (1), in JSON too."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("format: globalprune.plan/1\nlayers: {99: {mlp: 1}}\n", "utf-8")
    done = gp("check", plan, "--model", tiny("llama"), "--json")

    assert done.code == 1
    assert "layers.99: the model has 4 layers" in done.json["fit"]["problem"]


def test_check_says_in_what_form_the_result_loads(
    tiny: Tiny, analysis: Path, tmp_path: Path
) -> None:
    """LlamaConfig refuses a head count, so even equal layers need the per-layer format."""
    plan = tmp_path / "plan.yaml"
    cuts = "\n".join(f'  {layer}: {{attention: "0"}}' for layer in range(4))
    plan.write_text(f"format: globalprune.plan/1\nlayers:\n{cuts}\n", "utf-8")
    done = gp("check", plan, "--analysis", analysis, "--model", tiny("llama"))

    assert done.code == 0
    assert "the sizes of every layer and its modeling file (LlamaConfig refuses" in done.out
