"""`gp eval --plan`: a model is judged as the plan would leave it, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from applying import applied
from command_line import files_below, gp, refused
from cutting import Removals

Tiny = Callable[[str], Path]
SHORT = ("--samples", 3, "--seq-len", 32, "--no-speed")
CUTS: Removals = {1: {"mlp": [0, 5, 6]}, 2: {"attention": [1], "mlp": [2]}}
EMPTIED: Removals = {**CUTS, 0: {"attention": [0, 1, 2, 3]}}


@pytest.mark.parametrize(
    ("family", "cuts"), [("llama", EMPTIED), ("qwen2", CUTS), ("qwen3", CUTS), ("gemma2", CUTS)]
)
def test_a_mask_says_what_the_cut_model_says(
    tiny: Tiny, tmp_path: Path, family: str, cuts: Removals
) -> None:
    """The same perplexity, parameters and cache; nothing that only a file can tell."""
    cut = applied(tiny(family), tmp_path, cuts)
    before = files_below(tmp_path)
    plan = Path(cut.out) / "globalprune" / "plan.yaml"
    done = gp("eval", tiny(family), cut.out, "--plan", plan, *SHORT, "--json")
    assert done.code == 0, done.err
    _, real, masked = json.loads(done.out)["models"]

    assert masked["perplexity"]["value"] == pytest.approx(real["perplexity"]["value"], rel=1e-5)
    assert masked["parameters"] == real["parameters"]
    assert masked["kv_cache_bytes_per_token"] == real["kv_cache_bytes_per_token"]
    assert masked["file_bytes"] is masked["peak_memory_bytes"] is masked["speed"] is None
    assert masked["source"].endswith("plan.yaml")
    assert "judged as a mask on the whole model" in done.err
    assert files_below(tmp_path) == before


def test_plans_are_read_before_a_model_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    """A plan with a problem costs nothing."""
    plan = tmp_path / "plan.yaml"
    plan.write_text('format: globalprune.plan/1\nlayers:\n  0: {mlp: "9999"}\n', "utf-8")
    refused(gp("eval", tiny("llama"), "--plan", plan, *SHORT), r"9999 is out of range")


def test_parts_of_a_mask_are_its_own(tiny: Tiny, tmp_path: Path) -> None:
    """A second run takes them up; another plan is measured anew."""
    out = tmp_path / "judged"
    plans = []
    for name, channels in (("a", "0-2"), ("b", "0-3")):
        plans.append(tmp_path / f"{name}.yaml")
        head = "format: globalprune.plan/1\nlayers:\n"
        plans[-1].write_text(f'{head}  1: {{mlp: "{channels}"}}\n', "utf-8")
    gp("eval", tiny("llama"), "--plan", plans[0], *SHORT, "-o", out)
    done = gp("eval", tiny("llama"), "--plan", plans[0], "--plan", plans[1], *SHORT, "-o", out)

    assert done.code == 0, done.err
    assert f"{plans[0]}: text taken from" in done.err
    assert f"{plans[1]}: text taken from" not in done.err
