"""An adapter that is kept by itself: the same model as the merged one, on the base it names."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import gp
from cutting import tensors_in, write_removals
from tiny_finetunings import finetuned, logits, small

from globalprune.errors import UsageError
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
FAMILIES = ("llama", "llama_tied_bias", "qwen3")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_by_itself_is_the_same_model(made: Tiny, family: str) -> None:
    """Loaded or opened, it is its base with the adapter merged in."""
    folder = made(family)
    names = {path.name for path in (folder / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not names & {"config.json", "model.safetensors"}
    torch.testing.assert_close(
        logits(folder / "adapter"), logits(folder / "merged"), rtol=0, atol=1e-5
    )
    opened = open_checkpoint(resolve_model(str(folder / "adapter")))
    merged = tensors_in(folder / "merged")
    assert opened.tensors.keys() == merged.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(opened.read(name), tensor, rtol=0, atol=0)


def test_the_merge_is_the_sum_that_the_paper_gives(made: Tiny) -> None:
    """W + (alpha / r) · B·A, from the factors in the adapter's own file."""
    folder = made("qwen3")
    factors, base = tensors_in(folder / "adapter"), tensors_in(folder / "cut" / "out")
    merged = tensors_in(folder / "merged")
    name = "model.layers.1.self_attn.q_proj"
    down, up = (factors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    lora = small().lora
    assert lora is not None
    expected = base[f"{name}.weight"] + lora.alpha / lora.r * (up @ down)
    torch.testing.assert_close(merged[f"{name}.weight"], expected)


def test_an_adapter_names_its_base_by_its_whole_path(made: Tiny) -> None:
    """So that it is found from anywhere on this machine."""
    config = json.loads((made("llama") / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str((made("llama") / "cut" / "out").resolve())
    assert (config["r"], config["lora_alpha"]) == (4, 8)


def test_a_model_with_an_adapter_can_be_finetuned_further(made: Tiny, tmp_path: Path) -> None:
    """The merged weights go on, and the base is not what comes out."""
    folder = made("llama")
    settings = small(learning_rate=1e-9)
    finetuned(folder / "adapter", tmp_path / "further", settings)
    torch.testing.assert_close(
        logits(tmp_path / "further"), logits(folder / "merged"), rtol=0, atol=1e-4
    )


def test_an_adapter_on_an_adapter_is_refused(made: Tiny, tmp_path: Path) -> None:
    """The file names one base, so the first adapter's part would be lost."""
    adapter = made("llama") / "adapter"
    with pytest.raises(
        UsageError, match=r"^--keep-adapter: .*adapter is an adapter itself, .*; leave it out, and"
    ):
        finetuned(adapter, tmp_path / "out", keep_adapter=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_a_plan_can_be_held_against_a_result(made: Tiny, tmp_path: Path, kind: str) -> None:
    """`gp check` reads what finetuning wrote, in either form."""
    plan = write_removals(tmp_path / "plan.yaml", {1: {"mlp": [0]}})
    done = gp("check", plan, "--model", made("qwen3") / kind)
    assert done.code == 0, done.err
    assert re.search(rf"fits .*/{kind}: 35,888 → 35,792 parameters", done.out)


def test_a_seed_draws_the_adapters_first_values(tiny: Tiny, tmp_path: Path) -> None:
    """Whatever else has drawn numbers before; the rate is so small that they stay."""
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        settings = small(seed=seed, learning_rate=1e-12)
        finetuned(tiny("llama"), tmp_path / name, settings, keep_adapter=True)
    one, again, other = (tensors_in(tmp_path / name) for name in ("one", "again", "other"))
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    assert torch.equal(one[name], again[name])
    assert (one[name] - other[name]).abs().max() > 0.01
