"""What finetuning writes: the model that went in, with trained values and all that lay beside."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import bytes_below
from cutting import tensors_in
from tiny_finetunings import cut_unevenly, finetuned, logits, small
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM

from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
FAMILIES = ("llama", "llama_tied_bias", "qwen3")


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
