"""What `gp plan` and `gp show` say: figures, what is in the way, and documents for programs."""

import json
import re
from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of, traits_with
from command_line import gp, refused
from machines import machine_record, saved_machine, steady

from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.artifacts.records import write_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An analysis of three layers."""
    return saved_analysis(tmp_path / "analysis", structure_of(((2, 8), (2, 8), (2, 8)))).folder


def test_a_plan_says_what_it_loses_and_the_least(folder: Path) -> None:
    """Beside every other plan of its size."""
    done = gp("plan", folder, "--ratio", 0.2)

    assert done.code == 0
    assert "importance lost: " in done.out
    assert "any cut as large keeps" in done.out
    assert "(sums of importance are no perplexity)" in done.out


def test_the_document_tells_every_budget_and_the_gap(folder: Path) -> None:
    """One JSON document, whatever has to be solved."""
    done = gp(
        "plan", folder, "--ratio", 0.2, "--kv-cache", "40B", "--max-layer-ratio", 0.7, "--json"
    )  # fmt: skip
    (plan,) = json.loads(done.out)["plans"]

    assert plan["asked"] == {"ratio": 0.2, "kv_cache": 40}
    assert plan["budgets"][1]["unit"] == "bytes of KV cache a token in bfloat16"
    assert (plan["kv_cache_after"], plan["flops_context"]) == (plan["budgets"][1]["after"], 2048)
    assert plan["bytes_after"] is None
    assert [budget["reached"] for budget in plan["budgets"]] == [True, True]
    assert plan["budgets"][1]["after"] <= 40
    assert 0 <= plan["gap"] < 1
    assert plan["importance_kept"] <= plan["importance_kept_at_most"]


def test_what_is_in_the_way_is_named(folder: Path) -> None:
    """Of several constraints those that matter; no plan is written unless the largest will do."""
    bounds = ("--max-layer-ratio", 0.2, "--min-mlp", 1, "-o", folder / "a.yaml")
    done = gp("plan", folder, "--ratio", 0.5, *bounds)

    assert (done.code, done.out) == (1, "")
    assert "--ratio 0.5 asks for more than --min-mlp and --max-layer-ratio and the meas" in done.err
    assert done.err.rstrip().endswith(
        "so they stay; no plan was written. Ask for no more than that, do without "
        "--max-layer-ratio, or say --largest to have the largest plan."
    )
    assert not (folder / "a.yaml").exists()
    (told,) = gp("plan", folder, "--ratio", 0.5, *bounds, "--json").json["plans"]
    assert (told["written"], told["in_the_way"]) == (False, ["--max-layer-ratio"])
    reachable = told["budgets"][0]["reachable"].split()
    assert gp("plan", folder, *reachable, *bounds).code == 0
    largest = gp("plan", folder, "--ratio", 0.5, *bounds, "--largest")
    assert largest.code == 1
    assert "the largest plan was written. Ask for no more than that, or do without" in largest.err
    assert (folder / "a.yaml").is_file()


def test_of_several_ratios_those_are_planned_that_can_be_reached(folder: Path) -> None:
    """What a smaller ratio gets doesn't depend on a larger one; an older plan is left alone."""
    done = gp("plan", folder, "--ratio", 0.2, "--ratio", 0.9, "--csv", folder / "t.csv")

    assert done.code == 1
    assert "plan-0.20.yaml: removes " in done.out
    assert "plan-0.90.yaml" not in done.out
    assert {path.name for path in folder.glob("plan-*.yaml")} == {"plan-0.20.yaml"}
    gp("plan", folder, "--ratio", 0.2)
    assert f"({folder / 'plan.yaml'} is an older one)" in gp("plan", folder, "--ratio", 0.9).err


def test_a_plan_for_a_runtime_is_checked_by_its_limits(tmp_path: Path) -> None:
    """Widths that differ load in llama.cpp and are no plain checkpoint; exit code 1 says so."""
    shape = structure_of(((2, 8), (2, 8), (2, 8)))
    folder = saved_analysis(tmp_path / "analysis", shape, traits=traits_with()).folder
    plan = tmp_path / "plan.yaml"
    made = gp("plan", folder, "--ratio", 0.2, "--for", "llama.cpp", "-o", plan)
    loads = gp("check", plan, "--for", "llama.cpp")
    plain = gp("check", plan, "--for", "any")
    document = gp("check", plan, "--for", "any", "--json").json["loading"]

    assert (made.code, loads.code, plain.code) == (0, 0, 1)
    assert "constraints: {runtime: llama.cpp}" in plan.read_text("utf-8")
    assert loads.out.endswith("loads in llama.cpp\n")
    assert "doesn't load in every runtime, as a plain checkpoint: the layers that stay" in plain.out
    assert (document["runtime"], document["loads"]) == ("any", False)
    refused(gp("check", plan, "--for", "ollama"), "--for ollama: is not known; there are transf")


def test_a_hand_edit_that_a_runtime_cannot_load_is_told(tmp_path: Path) -> None:
    """The constraint stands in the plan, so that nobody has to ask."""
    traits = traits_with("qwen3")
    folder = saved_analysis(tmp_path, structure_of(((2, 8),) * 3), traits=traits).folder
    gp("plan", folder, "--ratio", 0.1, "--for", "llama.cpp")
    plan = folder / "plan.yaml"
    text = plan.read_text("utf-8")
    plan.write_text(text[: text.index("\nlayers:")] + "\nlayers:\n  1: {mlp: all}\n")

    told = "constraints.runtime is not kept: llama.cpp has no form of this qwen3 in which layers"
    assert told in gp("check", plan).err


def test_what_vllm_saves_less_than_planned_is_told(tmp_path: Path) -> None:
    """It loads all the same; a plain Qwen2 that it doesn't load by itself is told for any, too."""
    traits = traits_with("qwen2", hidden_size=13)
    folder = saved_analysis(tmp_path, structure_of(((2, 8),) * 3), traits=traits).folder
    empty, alike = tmp_path / "empty.yaml", tmp_path / "alike.yaml"
    format_line = "format: globalprune.plan/1\nlayers:\n"
    empty.write_text(format_line + "  1: {attention: all}\n")
    alike.write_text(format_line + "".join(f"  {i}: {{attention: 0}}\n" for i in range(3)))
    first = gp("check", empty, "--analysis", folder, "--for", "vllm")
    others = [gp("check", alike, "--analysis", folder, "--for", to) for to in ("vllm", "any")]

    assert first.code == 0
    assert "\nloads in vllm\n  layers without attention: 1; vLLM keeps the KV cache" in first.out
    for told in others:
        assert told.code == 0
        assert told.out.endswith("start it with --model-impl transformers.\n")


def test_padding_is_told_where_sublayers_are_empty(tmp_path: Path) -> None:
    """The file gets larger than the plan says, so its reader knows by how much."""
    folder = saved_analysis(tmp_path, structure_of(((2, 8),) * 3), traits=traits_with()).folder
    gp("plan", folder, "--ratio", 0.1, "--for", "llama.cpp")
    plan = folder / "plan.yaml"
    text = plan.read_text("utf-8")
    layers = '\nlayers:\n  0: {attention: all}\n  1: {attention: all, mlp: "0"}\n  2: {mlp: all}\n'
    plan.write_text(text[: text.index("\nlayers:")] + layers)
    checked = gp("check", plan, "--for", "llama.cpp")
    padding = 12 * (2 * (2 + 1) * 2 + 3 * 32)

    assert checked.code == 0
    assert checked.out.endswith(
        "loads in llama.cpp\n  the attention of layer 0 and the MLP of layer 2: empty, which "
        f"llama.cpp's deci can't hold; gp export pads with zeros, {padding:,} parameters.\n"
    )


def test_what_nothing_tells_is_asked_for(folder: Path) -> None:
    """An analysis that knows no traits, and no model named."""
    gp("plan", folder, "--ratio", 0.2)
    said = gp("check", folder / "plan.yaml", "--for", "any")
    refused(said, "--for any: nothing tells what the model is; name it with --model")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"no budget: say how much to remove with --ratio 0.2"),
        (("--params", "few"), r"--params few: is not an amount"),
        (("--ratio", "20%"), r"--ratio 20%: is not a fraction; write it like 0\.2"),
        (("--ratio", "0.2", "-o", "a.json"), r"-o a\.json: is called \.json, and a plan is YAML"),
        (("--ratio", "0.2", "--only", "both"), r"--only both: should be 'attention' or 'mlp'"),
        (("--ratio", "0.2", "--for", "x"), r"--for x: should be 'transformers', 'vllm', 'llama"),
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
        sublayer["importance"]
        for layer in document["layers"]
        for sublayer in layer["halves"].values()
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


def test_a_latency_is_told_by_what_was_measured(folder: Path, tmp_path: Path) -> None:
    """The plan names the record; an edit that breaks it is noted, and so is another record."""
    structure = read_analysis(folder).record.structure
    machine = saved_machine(tmp_path / "machine.json", structure)
    plan = tmp_path / "plans" / "fast.yaml"
    made = gp("plan", folder, "--latency", "12ms", "--machine", machine, "-o", plan, "--json")
    (document,) = made.json["plans"]
    text = plan.read_text("utf-8")
    checked = gp("check", plan)
    plan.write_text(text[: text.index("\nlayers:")] + "\nlayers: {}\n")
    edited = gp("check", plan)
    saved_machine(machine, structure, lambda attention, mlp: 2 * steady(attention, mlp))
    other = gp("check", plan)

    assert made.code == checked.code == 0
    assert document["asked"] == {"latency": 12.0}
    assert document["budgets"][0]["unit"] == "nanoseconds a token"
    assert document["budgets"][0]["after"] <= 12_000_000
    assert "latency: 12.0, machine: {path: ../machine.json, record: " in " ".join(text.split())
    assert "note" not in checked.err
    assert re.search(r"\ntakes 1[12]\.\d{3} ms a token\n", checked.out)
    assert "as gp plan wrote it" in checked.out
    assert "takes 12.800 ms a token where target.latency allows 12.0 ms" in edited.err
    assert "edited by hand:" in edited.out
    assert "its latency is unknown, since" in other.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--latency", "20"), "--latency 20: is not a time; write it like 20ms"),
        (
            ("--latency", "20ms"),
            "--latency: needs the record of gp measure; name it with --machine",
        ),
        (
            ("--ratio", 0.1, "--machine", "a.json"),
            "--machine a.json: serves a latency budget, and there is none",
        ),
        (
            ("--latency", "1ms", "--machine", "none.json"),
            "none.json: can't be read",
        ),
    ],
)
def test_a_latency_needs_a_machine(folder: Path, words: tuple[str, ...], message: str) -> None:
    """Nothing is invented."""
    refused(gp("plan", folder, *words), message)


def test_doubts_about_a_machine_go_with_its_plans(folder: Path, tmp_path: Path) -> None:
    """Whoever plans may not be who measured."""
    record = machine_record(read_analysis(folder).record.structure)
    machine = tmp_path / "machine.json"
    write_record(machine, record.model_copy(update={"warnings": ("rounds scatter.",)}))
    said = gp("plan", folder, "--latency", "12ms", "--machine", machine)

    assert f"note: {machine}: rounds scatter." in said.err


def test_another_models_latencies_are_refused(folder: Path, tmp_path: Path) -> None:
    """By its structure."""
    machine = saved_machine(tmp_path / "machine.json", structure_of(((2, 4), (2, 4))))
    said = gp("plan", folder, "--latency", "1ms", "--machine", machine)
    refused(said, "was measured for test/model, which has another structure")


def test_the_largest_plan_is_the_largest_of_the_budget_in_the_way(folder: Path) -> None:
    """Beside a budget that can be kept: what is said to be had can be had with it, and no more."""
    bounds = (
        "--max-layer-ratio",
        0.55,
        "--round-mlp",
        2,
        "--flops",
        "100M",
        "-o",
        folder / "b.yaml",
    )
    done = gp("plan", folder, "--ratio", 0.9, *bounds, "-o", folder / "b.yaml")
    found = re.search(r"allow, which is --ratio (0\.\d+)", done.err)

    assert done.code == 1
    assert found, done.err
    assert gp("plan", folder, "--ratio", found[1], *bounds, "-o", folder / "b.yaml").code == 0
    more = float(found[1]) + 0.01
    assert gp("plan", folder, "--ratio", more, *bounds, "-o", folder / "b.yaml").code == 1


def test_a_kind_that_goes_wholly_is_told(folder: Path) -> None:
    """As where a budget's unit was forgotten."""
    done = gp("plan", folder, "--kv-cache", "1B", "-o", folder / "c.yaml")
    assert (
        "note: every layer loses all of its attention; ask for less if that isn't meant."
        in done.err
    )


def test_every_cost_stands_in_the_csv(folder: Path) -> None:
    """Those of the other budgets too."""
    table = folder / "all.csv"
    gp("plan", folder, "--ratio", 0.2, "-o", folder / "d.yaml", "--csv", table)
    assert '"cost_kv_cache","cost_flops","removed"' in table.read_text("utf-8").splitlines()[0]
