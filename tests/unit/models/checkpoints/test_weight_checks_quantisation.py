"""Quantised checkpoints: refused by the method's name, each with its own way out."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.weight_checks import refuse_quantised
from globalprune.models.configs.config import read_config

ORIGINAL = r"give the model that it was made of, and quantise the result\.$"
WAYS_OUT: dict[str, str] = {
    "gptq": ORIGINAL,
    "awq": ORIGINAL,
    "torchao": ORIGINAL,
    "hqq": ORIGINAL,
    "quanto": ORIGINAL,
    "a-method-of-tomorrow": ORIGINAL,
    "bitsandbytes": r"give the float model .* or, .*model\.dequantize\(\), save_pretrained\.$",
    "higgs": r"quantise the result; or, .*model\.dequantize\(\), save_pretrained\.$",
    "compressed-tensors": r"or, .*=CompressedTensorsConfig\(dequantize=True\)\) of transformers",
    "fp8": r"or, .*=FineGrainedFP8Config\(dequantize=True\)\) of transformers",
    "mxfp8": r"or, .*=FineGrainedFP8Config\(dequantize=True\)\) of transformers",
    "mxfp4": r"or, .*=Mxfp4Config\(dequantize=True\)\) of transformers",
}


def refusal(folder: Path, config: dict[str, Any]) -> str:
    """What is said of a model with such a config."""
    path = folder / "config.json"
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError) as refused:
        refuse_quantised(read_config(path), path)
    return str(refused.value)


@pytest.mark.parametrize("method", WAYS_OUT)
def test_each_method_is_named_and_has_its_way_out(tmp_path: Path, method: str) -> None:
    """What can be made float again is said to be; the rest needs the original."""
    config = {"model_type": "llama", "quantization_config": {"quant_method": method}}
    expected = rf"the weights are quantised \(quantization_config, method {method}\).*"
    with pytest.raises(CheckpointError, match=expected + WAYS_OUT[method]):
        refuse_quantised(config, tmp_path / "config.json")


def test_transformers_has_what_the_ways_out_name() -> None:
    """A way out that the installed transformers doesn't know would be none."""
    import transformers

    for name in ("CompressedTensorsConfig", "FineGrainedFP8Config", "Mxfp4Config"):
        known = inspect.signature(getattr(transformers, name)).parameters
        assert "dequantize" in known, name


def test_older_spellings_are_known(tmp_path: Path) -> None:
    """A bitsandbytes config without a method, and compressed-tensors under its first key."""
    flags = {"quantization_config": {"load_in_4bit": True}}
    assert "method bitsandbytes" in refusal(tmp_path, flags)
    said = refusal(tmp_path, {"compression_config": {"format": "pack-quantized"}})
    assert "(compression_config, method compressed-tensors)" in said
    assert "dequantize" not in said  # transformers doesn't read that key


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("quantize_config.json", "gptq"),
        ("quant_config.json", "awq"),
        ("hf_quant_config.json", "modelopt"),
    ],
)
def test_a_mark_beside_the_config_counts(tmp_path: Path, name: str, method: str) -> None:
    """Older tools write a file of their own, and nothing into config.json."""
    (tmp_path / name).write_text("{}", "utf-8")
    assert f"({name}, method {method})" in refusal(tmp_path, {"model_type": "llama"})


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"quantization_config": {}}])
def test_a_float_model_passes(tmp_path: Path, config: dict[str, Any]) -> None:
    """An empty mark is none."""
    refuse_quantised(config, tmp_path / "config.json")


FLOATS = {"a.weight": TensorInfo((2, 2), "BF16"), "a.bias": TensorInfo((2,), "F32")}
PACKED = FLOATS | {"b.weight": TensorInfo((2, 1), "U8")}


def test_a_key_left_over_above_float_weights_is_named(tmp_path: Path) -> None:
    """Dequantising and merging leave it behind; a file beside is read by nobody then."""
    path = tmp_path / "config.json"
    config = {"quantization_config": {"quant_method": "bitsandbytes"}}
    with pytest.raises(
        CheckpointError,
        match=r"quantization_config says .* stored as BF16, F32, so they are float already: take "
        r"quantization_config out of config\.json\.$",
    ):
        refuse_quantised(config, path, FLOATS)
    with pytest.raises(CheckpointError, match=r"the weights are quantised .*bitsandbytes"):
        refuse_quantised(config, path, PACKED)
    (tmp_path / "quant_config.json").write_text("{}", "utf-8")
    refuse_quantised({}, path, FLOATS)


@pytest.mark.parametrize("dtype", ["I8", "U8", "I32", "F8_E4M3", "BOOL"])
def test_weights_that_are_no_floats_are_named(tmp_path: Path, dtype: str) -> None:
    """A quantised model that lost its config would be measured as if integers were weights."""
    tensors = FLOATS | {"b.weight": TensorInfo((2, 2), dtype)}
    with pytest.raises(
        CheckpointError, match=rf"holds b\.weight as {dtype}, and only float weights"
    ):
        refuse_quantised({}, tmp_path / "config.json", tensors)
    buffers = {"h.0.attn.bias": TensorInfo((2, 2), "BOOL")}
    refuse_quantised({}, tmp_path / "config.json", FLOATS | buffers)
