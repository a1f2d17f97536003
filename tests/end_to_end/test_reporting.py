"""`gp report`: what the real commands leave, in one page that stands alone."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import files_below, gp, refused
from web_pages import WebPage, assert_stands_alone

from globalprune.artifacts.evaluations.evaluation_table import (
    figure_rows,
    read_evaluation,
    value_text,
)
from globalprune.artifacts.evaluations.sweep import read_sweep, sweep_table
from globalprune.artifacts.results.cut import read_compensation, read_metrics
from globalprune.artifacts.results.finetuning import read_finetune_record

pytestmark = pytest.mark.slow
Tiny = Callable[[str], Path]
TEXT = ("--data", "builtin", "--samples", 16, "--seq-len", 24)
JUDGED = ("--samples", 3, "--seq-len", 24, "--no-speed")
NAMES = ["analysis", "plan-0.30.yaml", "cut", "recovered", "pruned", "judged", "swept"]


@pytest.fixture(scope="module")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command has left something; read only."""
    place, model = tmp_path_factory.mktemp("made"), tiny("llama")
    analysis, plan = place / "analysis", place / "analysis" / "plan-0.30.yaml"
    commands = (
        ("analyze", model, "-o", analysis, *TEXT, "--importance", "fisher",
         "--importance", "obs_measured"),
        ("plan", analysis, "--ratio", 0.3, "-o", plan),
        ("apply", model, "--plan", plan, "-o", place / "cut", "--compensate", *TEXT),
        ("finetune", place / "cut", "-o", place / "recovered", "--method", "lora", *TEXT),
        ("prune", model, "--ratio", 0.2, "-o", place / "pruned", *TEXT),
        ("eval", model, place / "cut", "-o", place / "judged", *JUDGED),
        ("sweep", model, "--analysis", analysis, "--ratio", 0.1, "-o", place / "swept",
         "--eval-samples", 3, "--eval-seq-len", 24),
    )  # fmt: skip
    for command in commands:
        done = gp(*command)
        assert done.code == 0, done.err
    shutil.copyfile(
        place / "judged" / "evaluation.json", place / "cut" / "globalprune" / "evaluation.json"
    )
    return place


@pytest.fixture(scope="module")
def page(made: Path, tmp_path_factory: pytest.TempPathFactory) -> WebPage:
    """All of it in one page."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    paths = [made / "analysis" / name if "yaml" in name else made / name for name in NAMES]
    done = gp("report", *paths, "-o", out, "--json")

    assert done.code == 0, done.err
    assert done.err == ""
    assert done.json["report"] == str(out)
    assert [section["name"] for section in done.json["sections"]] == NAMES
    assert [section["holds"] for section in done.json["sections"]] == [
        ["analysis"],
        ["plan"],
        ["result", "evaluation", "compensation", "plan", "analysis"],
        ["result", "compensation", "recovery", "plan", "analysis"],
        ["result", "compensation", "plan", "analysis"],
        ["evaluation"],
        ["sweep"],
    ]
    return assert_stands_alone(out.read_text("utf-8"))


def test_every_path_has_its_section_in_order(page: WebPage) -> None:
    """Behind the first table; drawings of all kinds are there."""
    headings = [heading for heading in page.headings if heading in ("At a glance", *NAMES)]

    assert headings == ["At a glance", *NAMES]
    assert page.drawings == 4 + 1 + 2 + 3 + 5 + 0 + 1


def test_figures_are_those_of_the_artifacts(made: Path, page: WebPage) -> None:
    """Sizes, digests, errors, losses and commands, as the records have them."""
    own = made / "recovered" / "globalprune"
    cut = read_metrics(own / "metrics.json")
    repair = read_compensation(own / "compensation.json").modules[0]
    run = read_finetune_record(own / "recovery.json").runs[-1]
    analysis = json.loads((made / "analysis" / "analysis.json").read_text("utf-8"))

    for figure in (
        f"{cut.parameters_after:,} of {cut.parameters_before:,}",
        f"{100 * cut.ratio:.2f} %",
        cut.weights,
        cut.plan,
        f"{100 * repair.error_after:.3f} %",
        f"{run.first_loss:.3f} → {run.last_loss:.3f}",
        run.data_digest,
        analysis["table"],
        analysis["calibration"]["digest"],
        shlex.join(analysis["command"]),
    ):
        assert " ".join(figure.split()) in page.text
    widths = [[str(w.layer_idx), str(w.origin_layer_idx), str(w.attention_groups),
               str(w.mlp_channels)] for w in cut.layers]  # fmt: skip
    assert widths in [table[1:] for table in page.tables]


def test_tables_are_those_of_evaluation_and_sweep(made: Path, page: WebPage) -> None:
    """Cell by cell, as gp eval and gp sweep write them."""
    comparison = read_evaluation(made / "judged" / "evaluation.json")
    wanted = [
        [value_text(row, cell) for cell in row.cells] for row in figure_rows(comparison)
    ]  # fmt: skip
    tables = [
        [[cell.split("\n")[0] for cell in row[1:]] for row in table[1:]] for table in page.tables
    ]

    assert tables.count(wanted) == 2  # the evaluation's own, and that of the result
    swept = sweep_table(read_sweep(made / "swept" / "sweep.json"))
    assert [list(row) for row in swept] in [table[1:] for table in page.tables]


def test_models_are_side_by_side_at_a_glance(made: Path, page: WebPage) -> None:
    """A line for every plan, result and judged model; perplexity where it was measured."""
    comparison = read_evaluation(made / "judged" / "evaluation.json")
    (row,) = (row for row in figure_rows(comparison) if row.metric == "perplexity")
    dense, cut = (value_text(row, cell) for cell in row.cells)
    glance = page.tables[0]

    assert [line[0] for line in glance[1:]] == [*NAMES[1:5], "judged", "judged"]
    assert [line[4] for line in glance[1:]] == ["", cut, "", "", dense, cut]
    ratio = read_metrics(made / "cut" / "globalprune" / "metrics.json").ratio
    assert [line[3] for line in glance[1:4]] == [f"{100 * ratio:.2f} %"] * 3


def test_equal_artifacts_give_an_equal_file(made: Path, tmp_path: Path) -> None:
    """Wherever they lie; nothing of the machine or the day enters."""
    names = ["analysis", "analysis/plan-0.30.yaml", "recovered", "swept"]
    other = tmp_path / "other" / "place"
    for name in ("analysis", "recovered", "swept"):
        shutil.copytree(made / name, other / name)
    for place, out in ((made, "a.html"), (other, "b.html")):
        assert gp("report", *(place / name for name in names), "-o", tmp_path / out).code == 0
    written = (tmp_path / "a.html").read_bytes()

    assert written == (tmp_path / "b.html").read_bytes()
    assert str(other).encode() not in written


def test_a_name_with_a_script_in_it_stays_text(made: Path, tmp_path: Path) -> None:
    """Whatever an artifact says is said, and never run."""
    evil = "<script>alert(1)</script>"
    shutil.copytree(made / "judged", tmp_path / "judged")
    path = tmp_path / "judged" / "evaluation.json"
    told = json.loads(path.read_text("utf-8"))
    told["models"][0]["source"] = told["command"] = told["text"]["source"] = evil
    path.write_text(json.dumps(told), "utf-8")
    assert gp("report", tmp_path / "judged", "-o", tmp_path / "r.html", "--title", evil).code == 0
    found = assert_stands_alone((tmp_path / "r.html").read_text("utf-8"))

    assert found.text.count(evil) >= 5
    assert found.tables[-1][0][1] == evil


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], r"nowhere: there is no such file or folder; name a plan \(\.yaml\), or a fo"),
        (["tiny"], r"tiny: holds none of analysis\.json, evaluation\.json, sweep\.json, globalpru"),
        (["analysis/groups.parquet"], r"groups\.parquet: is a file and no plan; name a plan"),
        (["analysis/analysis.json"], r"name the folder that it lies in, \S*analysis\."),
        (["broken"], r"analysis\.json: is not JSON .*; run gp analyze again"),
        (["other"], r"curves\.parquet: belongs to another analysis than the analysis\.json beside"),
        (["bad.yaml"], r"bad\.yaml: 1 problem\s+line 2: layers\.0"),
        (
            ["analysis", "-o", "plan.yaml"],
            r"-o plan\.yaml: is no name of a web page; name a \.html",
        ),
        (["analysis", "-o", "folder.html"], r"folder\.html: is a folder, where a file should be"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_nothing_to_report_of_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    """By text, exit code 2, and not a file is left; one bad path spoils the page."""
    shutil.copytree(made / "analysis", tmp_path / "analysis")
    shutil.copytree(made / "pruned" / "globalprune", tmp_path / "other")
    (tmp_path / "other" / "metrics.json").unlink()
    shutil.copyfile(tmp_path / "analysis" / "curves.parquet", tmp_path / "other/curves.parquet")
    for folder in ("tiny", "broken", "folder.html"):
        (tmp_path / folder).mkdir()
    (tmp_path / "broken" / "analysis.json").write_text("{", "utf-8")
    (tmp_path / "bad.yaml").write_text(
        "format: globalprune.plan/1\nlayers: {0: {mlp: x}}\n", "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)

    refused(gp("report", "analysis", *words), message)
    assert files_below(tmp_path) == before


def test_a_plan_without_its_analysis_is_told_all_the_same(made: Path, tmp_path: Path) -> None:
    """With a note on stderr that says where the analysis was looked for."""
    plan, out = tmp_path / "plan.yaml", tmp_path / "report.html"
    shutil.copyfile(made / "analysis" / "plan-0.30.yaml", plan)
    done = gp("report", plan, "-o", out)

    assert done.code == 0, done.err
    assert done.err.startswith(f"note: {plan}: its analysis was looked for in ")
    assert done.out == f"{out}\n  plan.yaml: plan\n"
    assert "Its analysis is not at hand" in WebPage(out.read_text("utf-8")).text


def test_a_model_that_was_only_finetuned_is_a_result(tiny: Tiny, tmp_path: Path) -> None:
    """Nothing of it was cut, so nothing is said of a cut."""
    out = tmp_path / "tuned"
    tuned = gp("finetune", tiny("llama"), "-o", out, "--method", "lora", *TEXT)
    done = gp("report", out, "-o", tmp_path / "report.html", "--json")
    page = assert_stands_alone((tmp_path / "report.html").read_text("utf-8"))
    run = read_finetune_record(out / "globalprune" / "recovery.json").runs[-1]

    assert (tuned.code, done.code) == (0, 0), tuned.err + done.err
    assert done.json["sections"] == [{"name": "tuned", "holds": ["recovery"]}]
    assert f"{run.first_loss:.3f} → {run.last_loss:.3f}" in page.text
    assert run.weights
    assert run.weights in page.text
