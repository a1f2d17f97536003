"""A promise in bytes is kept in bytes: no file of weights is larger than a plan was asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch
from analyses import saved_analysis
from command_line import gp, refused
from safetensors.torch import load_file, save_file

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.shard_writer import stored_weights
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model

Tiny = Callable[[str], Path]
Dtype = torch.dtype
MIXED = "mixed"  # norms and the embedding in float32, one sublayer of one layer in float16
STORED: dict[str, Dtype | None] = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, MIXED: None,
}  # fmt: skip


def stored_as(model: Path, folder: Path, dtype: str) -> Path:
    """A copy of a model whose weights are stored so."""
    copytree(model, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        own = STORED[dtype]
        if dtype == MIXED:
            narrow = torch.float16 if "layers.1.mlp" in name else torch.bfloat16
            own = torch.float32 if "norm" in name or "embed" in name else narrow
        tensors[name] = tensor.to(own)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def analyzed(model: Path, folder: Path) -> Analysis:
    """An analysis of random importances, that knows how the model is stored."""
    checkpoint = open_checkpoint(resolve_model(str(model)))
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    storage = stored_weights(checkpoint, adapter, structure)
    return saved_analysis(folder, structure, storage=storage)


def weight_files(folder: Path) -> int:
    """What `ls -l` shows of the weights."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors*"))


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("llama", "float32"), ("llama_tied_bias", "bfloat16"), ("llama_tied_bias", MIXED),
        ("qwen3", "float16"), ("phi3", MIXED), ("qwen3_moe", MIXED),
    ],
)  # fmt: skip
def test_no_file_is_larger_than_was_asked_for(
    tiny: Tiny, tmp_path: Path, family: str, dtype: str
) -> None:
    """Of any dtype, tied or not, uneven or not; every answer says what the file then has."""
    model = stored_as(tiny(family), tmp_path / "model", dtype)
    analysis = analyzed(model, tmp_path / "analysis")
    whole = weight_files(model)
    asked = int(0.8 * whole)
    planned = gp("plan", analysis.folder, "--size", f"{asked}B", "--json")
    (plan,) = planned.json["plans"]
    path = analysis.folder / "plan.yaml"
    explained = gp("apply", model, "--plan", path, "--explain", "--json").json
    fit = gp("check", path, "--model", model, "--json").json["fit"]
    done = gp("apply", model, "--plan", path, "-o", tmp_path / "out", "--json")

    assert (planned.code, done.code) == (0, 0), planned.err + done.err
    found = weight_files(tmp_path / "out")
    assert found <= plan["bytes_after"] <= asked < whole == plan["bytes_before"]
    slack = 2 * 48 * len(json.dumps(sorted(load_file(model / "model.safetensors"))))
    assert asked - found < slack, "a header and a group at most are missing"
    for told in (explained, fit, done.json):
        assert (told["bytes_before"], told["bytes_after"]) == (whole, found)


@pytest.mark.parametrize(
    ("dtype", "counted"), [("float32", "float32"), ("float16", "float16"), (MIXED, "bfloat16")]
)
def test_the_kv_cache_counts_as_stored_whatever_is_asked(
    tiny: Tiny, tmp_path: Path, dtype: str, counted: str
) -> None:
    """A plan by a ratio and one by bytes of the cache tell the same of the same model."""
    analysis = analyzed(stored_as(tiny("llama"), tmp_path / "model", dtype), tmp_path / "analysis")
    by_ratio = gp("plan", analysis.folder, "--ratio", 0.2, "--json").json["plans"][0]
    checked = gp("check", analysis.folder / "plan.yaml").out
    by_cache = gp("plan", analysis.folder, "--kv-cache", "400B", "--json").json["plans"][0]

    assert f"bytes of KV cache a token in {counted}, of" in checked
    assert by_ratio["kv_cache_dtype"] == by_cache["kv_cache_dtype"] == counted
    assert by_ratio["kv_cache_before"] == by_cache["kv_cache_before"]


def test_bytes_in_another_dtype_are_kept_by_converting(tiny: Tiny, tmp_path: Path) -> None:
    """The plan says how, gp check repeats it, gp apply refuses to write more, and does convert."""
    model = tiny("llama")
    analysis = analyzed(model, tmp_path / "analysis")
    whole, plan = weight_files(model), analysis.folder / "plan.yaml"
    size = whole // 2 - 5000
    planned = gp("plan", analysis.folder, "--size", f"{size}B", "--dtype", "bfloat16")
    checked = gp("check", plan, "--model", model)
    out = tmp_path / "out"
    refusal = gp("apply", model, "--plan", plan, "-o", out, "--dtype", "bfloat16")
    explained = gp("apply", model, "--plan", plan, "--explain", "--save-dtype", "bf16")
    done = gp("apply", model, "--plan", plan, "-o", out, "--save-dtype", "bfloat16", "--json")
    way = "cut with gp apply --save-dtype bfloat16, which converts them."

    assert f"note: --size counts bfloat16, and the weights are stored in float32: {way}" in (
        planned.err
    )
    assert f"bytes of weight files in bfloat16, of {whole:,} in float32" in planned.out
    assert "dtype: bfloat16" in plan.read_text("utf-8")
    assert checked.code == 0
    assert "bytes in float32 would be written; say --save-dtype bfloat16, or plan" in checked.err
    assert f"\nweights: {whole:,} bytes in float32 → " in checked.out
    refused(refusal, r"target.size allows .* bytes in bfloat16, and .* say --save-dtype bfloat16")
    assert f"{whole:,} bytes in float32 → " in explained.out
    assert done.code == 0, done.err
    assert done.json["bytes_after"] == weight_files(out) <= size
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {
        torch.bfloat16
    }
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert done.json["save_dtype"] == "bfloat16"
    assert "converted to bfloat16" in (out / "globalprune" / "description.txt").read_text()


def test_a_number_that_the_dtype_cannot_hold_is_named(tiny: Tiny, tmp_path: Path) -> None:
    """Nothing is written; an unknown dtype is refused before anything is read."""
    model = tmp_path / "model"
    copytree(tiny("llama"), model)
    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.2.mlp.up_proj.weight"][3, 5] = 70_000.0
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    plan = tmp_path / "plan.yaml"
    plan.write_text("format: globalprune.plan/1\nlayers: {0: {mlp: 1}}\n")
    words = ("apply", model, "--plan", plan, "-o", tmp_path / "out", "--save-dtype")

    named = r"model.layers.2.mlp.up_proj.weight holds 70000 at .*, beyond 65504, where float16 ends"
    refused(gp(*words, "float16"), named)
    refused(gp(*words, "int8"), r"--save-dtype int8: is no dtype that weights are written in; ther")
    assert not (tmp_path / "out").exists()
    assert gp(*words, "bfloat16").code == 0


def test_an_edit_that_breaks_the_size_is_honoured(tiny: Tiny, tmp_path: Path) -> None:
    """As one that breaks any other budget: with a note. A relative stored wider is refused."""
    model = stored_as(tiny("qwen3"), tmp_path / "model", MIXED)
    analysis = analyzed(model, tmp_path / "analysis")
    plan = analysis.folder / "plan.yaml"
    gp("plan", analysis.folder, "--size", f"{int(0.8 * weight_files(model))}B")
    wide = gp("apply", tiny("qwen3"), "--plan", plan, "-o", tmp_path / "wide")
    refused(wide, r"would be written; say --save-dtype bfloat16, or plan again")
    text = plan.read_text("utf-8")
    plan.write_text(text[: text.index("\nlayers:")] + "\nlayers: {1: {mlp: 0-3}}\n")
    done = gp("apply", model, "--plan", plan, "-o", tmp_path / "out")

    assert done.code == 0, done.err
    assert "bytes of weight files in bfloat16 and float16 and float32 where target.size" in done.err
