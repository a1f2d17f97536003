"""What finetuning writes: the model that went in, with trained values and all that lay beside."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import bytes_below
from command_line import gp
from cutting import tensors_in, write_removals
from recovering import (
    cut_unevenly,
    finetuned,
    logits,
    small,
)
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM

from globalprune.errors import UsageError
from globalprune.models.opening import open_checkpoint
from globalprune.models.source import resolve_model
from globalprune.models.weights_fingerprint import weights_fingerprint

Tiny = Callable[[str], Path]
FAMILIES = ("llama", "llama_tied_bias", "qwen3")


@pytest.fixture(scope="module")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a folder with a cut model, cut/out, what became of it, merged, and the adapter alone."""
    done: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in done:
            folder = tmp_path_factory.mktemp(family)
            (folder / "cut").mkdir()
            cut = cut_unevenly(tiny(family), folder / "cut", family)
            finetuned(cut, folder / "merged")
            finetuned(cut, folder / "adapter", keep_adapter=True)
            done[family] = folder
        return done[family]

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_result_reloads_with_transformers_alone(made: Tiny, family: str) -> None:
    """To the same logits as with us, and others than before."""
    folder = made(family)
    stock = AutoModelForCausalLM.from_pretrained(
        folder / "merged", trust_remote_code=True, dtype=torch.float32
    )
    assert type(stock).__name__.startswith("Pruned")
    found = logits(folder / "merged")
    torch.testing.assert_close(logits(stock), found, rtol=0, atol=0)
    assert (found - logits(folder / "cut" / "out")).abs().max() > 0.1


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


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_has_an_adapter_was_changed(made: Tiny, family: str) -> None:
    """Names and shapes are those of the model that went in; all else is as it was, to the bit."""
    folder = made(family)
    before, after = tensors_in(folder / "cut" / "out"), tensors_in(folder / "merged")
    assert {name: t.shape for name, t in before.items()} == {n: t.shape for n, t in after.items()}
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    linears = {name for name in before if name.endswith("_proj.weight")}
    assert changed == linears


def test_the_model_that_went_in_is_untouched(tiny: Tiny, tmp_path: Path) -> None:
    """Nothing is written into its folder."""
    before = bytes_below(tiny("mistral"))
    finetuned(tiny("mistral"), tmp_path / "out")
    assert bytes_below(tiny("mistral")) == before


def test_config_code_and_tokenizer_are_copied_byte_for_byte(made: Tiny) -> None:
    """Whatever reads the cut model reads this one."""
    folder = made("llama")
    before, after = bytes_below(folder / "cut" / "out"), bytes_below(folder / "merged")
    same = ("config.json", "tokenizer.json", "tokenizer_config.json", "modeling_globalprune.py")
    assert [name for name in same if before[name] != after[name]] == []


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_the_records_of_the_cut_travel_along(made: Tiny, kind: str) -> None:
    """Plan, origin and figures; recovery.json and the loss curve lie beside them."""
    folder = made("llama")
    before = bytes_below(folder / "cut" / "out" / "globalprune")
    after = bytes_below(folder / kind / "globalprune")
    assert {"plan.yaml", "origin.parquet"} <= before.keys()
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"recovery.json", "loss.csv"}


def test_a_result_reads_as_a_model_that_was_recovered(made: Tiny) -> None:
    """Its card says so."""
    card = (made("llama") / "merged" / "README.md").read_text()
    assert "finetun" in card.lower()


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_dtypes_are_those_of_the_checkpoint(tmp_path: Path, full: bool) -> None:
    """A bfloat16 checkpoint stays one, whatever it was trained in; a float32 norm in it too."""
    from safetensors.torch import save_file

    base = save_tiny(tmp_path / "base", "llama")
    tensors = {
        name: tensor if "norm" in name else tensor.bfloat16()
        for name, tensor in tensors_in(base).items()
    }
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    finetuned(base, tmp_path / "out", small(lora=None) if full else None, dtype="float32")
    after = tensors_in(tmp_path / "out")
    assert {name: tensor.dtype for name, tensor in after.items()} == {
        name: tensor.dtype for name, tensor in tensors.items()
    }
    changed = [name for name, tensor in tensors.items() if not torch.equal(tensor, after[name])]
    assert any("_proj" in name for name in changed)


def test_full_finetuning_changes_every_tensor_and_reloads(tiny: Tiny, tmp_path: Path) -> None:
    """Tied embeddings, norms and biases too; the record's fingerprint is of what was written."""
    base = cut_unevenly(tiny("llama_tied_bias"), tmp_path, "llama_tied_bias")
    run = finetuned(base, tmp_path / "recovered", small(lora=None))
    before, after = tensors_in(base), tensors_in(tmp_path / "recovered")
    assert before.keys() == after.keys()
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    # nothing reads what these norms give
    assert same == {
        "model.layers.0.input_layernorm.weight",
        "model.layers.3.post_attention_layernorm.weight",
    }
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "recovered", trust_remote_code=True)
    torch.testing.assert_close(logits(stock), logits(tmp_path / "recovered"), rtol=0, atol=0)
    opened = open_checkpoint(resolve_model(str(tmp_path / "recovered")))
    assert run.weights == weights_fingerprint(opened)
    assert run.trained_parameters == opened.parameters


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
