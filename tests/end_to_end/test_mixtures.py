"""Models with experts from the command line: measured, planned, cut, judged; what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import files_below, gp, refused
from cutting import Removals, tensors_in, write_removals
from mixture_cuts import EXPERTS, WIDTH
from pyarrow import parquet
from tiny_models import MIXTURES

Tiny = Callable[[str], Path]
SHORT = ("--data", "builtin", "--samples", 4, "--seq-len", 32)


@pytest.fixture(scope="module", params=MIXTURES)
def analysed(
    request: pytest.FixtureRequest, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model, and its analysis."""
    model, out = tiny(request.param), tmp_path_factory.mktemp("mixture") / "analysis"
    words = ("--importance", "fisher", "--importance", "taylor", "--batch-size", 4)
    done = gp("analyze", model, "-o", out, *SHORT, *words, "--ratio", 0.3)
    assert done.code == 0, done.err
    return model, out


def test_the_table_says_whose_channel_each_is(analysed: tuple[Path, Path]) -> None:
    """By the number of the expert; empty for attention and for layers without experts."""
    rows = parquet.read_table(analysed[1] / "groups.parquet").to_pylist()
    mixed = [row for row in rows if row["expert_idx"] is not None]
    dense = 1 if "qwen3" in str(analysed[0]) else 0

    assert len(mixed) == (4 - dense) * EXPERTS * WIDTH
    assert all(row["expert_idx"] == row["group_idx"] // WIDTH for row in mixed)
    assert {row["group_type"] for row in mixed} == {"mlp"}
    # a token meets two of four experts
    assert {row["cost_flops"] for row in mixed} == {row["cost"] for row in mixed}


def test_a_mask_says_what_the_cut_model_says(analysed: tuple[Path, Path], tmp_path: Path) -> None:
    """The same perplexity, of a plan and of what it leaves."""
    model, analysis = analysed
    plan = analysis / "plan.yaml"
    assert gp("apply", model, "--plan", plan, "-o", tmp_path / "cut").code == 0
    done = gp("eval", model, tmp_path / "cut", "--plan", plan, *SHORT, "--json")
    assert done.code == 0, done.err
    _, cut, mask = (judged["perplexity"]["value"] for judged in done.json["models"])

    assert cut == pytest.approx(mask, rel=1e-4)


def test_compensation_solves_the_attention_around_experts(
    analysed: tuple[Path, Path], tmp_path: Path
) -> None:
    """The experts' own weights stay what they were."""
    model, analysis = analysed
    plan = analysis / "plan.yaml"
    plain, solved = tmp_path / "plain", tmp_path / "solved"
    assert gp("apply", model, "--plan", plan, "-o", plain).code == 0
    done = gp("apply", model, "--plan", plan, "-o", solved, "--compensate", *SHORT)
    assert done.code == 0, done.err
    before, after = tensors_in(plain), tensors_in(solved)
    changed = {name for name in before if not before[name].equal(after[name])}

    assert before.keys() == after.keys()
    assert not any("experts" in name for name in changed)


def test_what_a_plan_took_is_worth_nothing_to_the_next_analysis(
    analysed: tuple[Path, Path], tmp_path: Path
) -> None:
    """Experts' channels that are given away score 0."""
    plan = write_removals(tmp_path / "plan.yaml", {0: {"mlp": [3, 9]}})
    out = tmp_path / "again"
    done = gp("analyze", analysed[0], "-o", out, *SHORT, "--given", plan)
    assert done.code == 0, done.err
    rows = parquet.read_table(out / "groups.parquet").to_pylist()
    worthless = {
        row["group_idx"]
        for row in rows
        if (row["layer_idx"], row["group_type"], row["importance"]) == (0, "mlp", 0.0)
    }

    assert worthless >= {3, 9}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--uniform",), "--uniform: counts the channels of an MLP, and this model has experts"),
        (("--round-mlp", 4), "--round-mlp: counts the channels of an MLP"),
        (("--for", "any"), "has experts, .* leave it out .and --for any, which asks it"),
        (("--for", "llama.cpp"), "gp export knows no form of"),
        (("--for", "vllm"), "--for vllm: this model has experts"),
    ],
    ids=["uniform", "round", "any", "llama.cpp", "vllm"],
)
def test_plans_that_count_an_mlps_channels_are_refused(
    analysed: tuple[Path, Path], tmp_path: Path, words: tuple[Any, ...], message: str
) -> None:
    """Each by its option; nothing is written."""
    out = tmp_path / "plan.yaml"
    refused(gp("plan", analysed[1], "--ratio", 0.2, *words, "-o", out), message)
    assert not files_below(tmp_path)


def test_orders_of_removal_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """They are made at a single output projection."""
    done = gp("analyze", tiny("mixtral"), "-o", tmp_path / "a", *SHORT, "--importance", "obs")
    refused(done, "--importance obs: can't be made of experts, .* say --importance fisher")
    assert not files_below(tmp_path)


def test_latencies_and_vllm_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Nothing is measured, and nothing promised."""
    done = gp("measure", tiny("mixtral"), "-o", tmp_path / "machine.json", "--context", 16)
    refused(done, "has experts, and no random model tells which of them a token meets")
    plan = write_removals(tmp_path / "plan.yaml", {0: {"mlp": [0]}})
    checked = gp("check", plan, "--model", tiny("mixtral"), "--for", "vllm")
    assert checked.code == 1
    assert "vLLM takes the experts of a layer together" in checked.out + checked.err
    checked = gp("check", plan, "--model", tiny("mixtral"), "--for", "any")
    assert checked.code == 1


def test_experts_that_stay_alike_load_anywhere(tiny: Tiny, tmp_path: Path) -> None:
    """A hand-made plan that takes whole rows of eight leaves a plain checkpoint."""
    gone: Removals = {layer: {"attention": [layer % 2]} for layer in range(4)}
    plan = write_removals(tmp_path / "plan.yaml", gone)
    for runtime in ("any", "vllm"):
        checked = gp("check", plan, "--model", tiny("qwen3_moe"), "--for", runtime)
        assert checked.code == 0, checked.out + checked.err
    assert gp("apply", tiny("qwen3_moe"), "--plan", plan, "-o", tmp_path / "cut").code == 0
    assert not (tmp_path / "cut" / "modeling_globalprune.py").exists()


@pytest.mark.parametrize("family", MIXTURES)
def test_a_cut_mixture_is_finetuned_around_its_experts(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    """LoRA goes on the attention, whose names peft takes for what they are."""
    plan = write_removals(tmp_path / "plan.yaml", {0: {"mlp": [3, 9]}, 2: {"attention": [0, 1]}})
    cut, tuned = tmp_path / "cut", tmp_path / "tuned"
    assert gp("apply", tiny(family), "--plan", plan, "-o", cut).code == 0
    done = gp("finetune", cut, "-o", tuned, *SHORT)
    assert done.code == 0, done.err
    before, after = tensors_in(cut), tensors_in(tuned)
    changed = {name for name in before if not before[name].equal(after[name])}

    assert changed
    assert all("self_attn" in name for name in changed)


def test_experts_of_a_width_that_nothing_multiplies_load_in_no_other_runtime(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Gp check says before the cut what gp apply would write."""
    gone: Removals = {
        layer: {"mlp": [expert * WIDTH + u for expert in range(EXPERTS) for u in (0, 5)]}
        for layer in range(4)
    }
    plan = write_removals(tmp_path / "plan.yaml", gone)
    for runtime in ("any", "vllm"):
        checked = gp("check", plan, "--model", tiny("mixtral"), "--for", runtime)
        assert checked.code == 1
        assert "its experts have 6 channels, and transformers multiplies" in checked.out
