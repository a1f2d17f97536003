"""Which tensors a file gets: names, shapes, and that none of the checkpoint is lost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from export_models import EVERY_KIND_OF_CUT, save_cut
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file

from globalprune.errors import CheckpointError, UsageError
from globalprune.export.model import open_export_model
from globalprune.export.tensors import (
    NUMBER_FORMATS,
    GgufTensor,
    NumberFormat,
    choose_number_format,
    list_tensors,
    unquantised_names,
)


def laid_out(folder: Path) -> dict[str, GgufTensor]:
    """The tensors by name."""
    tensors = list_tensors(open_export_model(str(folder), folder.with_suffix(".gguf")))
    assert len({tensor.name for tensor in tensors}) == len(tensors)
    return {tensor.name: tensor for tensor in tensors}


def test_names_and_shapes_of_a_cut_model(tmp_path: Path) -> None:
    """Layer 0 has one group of zeros, layer 2 has 32 channels of zeros."""
    tensors = laid_out(save_cut(tmp_path / "model", cut=EVERY_KIND_OF_CUT))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    zeros = {name for name, tensor in tensors.items() if not tensor.rows}

    assert shapes["token_embd.weight"] == shapes["output.weight"] == (320, 64)
    assert shapes["blk.0.attn_q.weight"] == (32, 64)
    assert shapes["blk.0.attn_output.weight"] == (64, 32)
    assert shapes["blk.1.attn_k.weight"] == (16, 64)
    assert shapes["blk.1.ffn_down.weight"] == (64, 13)
    assert shapes["blk.2.ffn_gate.weight"] == (32, 64)
    assert zeros == {
        *(f"blk.0.attn_{part}.weight" for part in ("q", "k", "v", "output")),
        *(f"blk.2.ffn_{part}.weight" for part in ("gate", "up", "down")),
    }


def test_openelm_has_queries_keys_and_values_in_one(tmp_path: Path) -> None:
    """Padding has norms too, since every layer of that form has them."""
    tensors = laid_out(save_cut(tmp_path / "model", "qwen3", EVERY_KIND_OF_CUT))

    assert tensors["blk.3.attn_qkv.weight"].shape == ((4 + 2 * 2) * 16, 64)
    assert len(tensors["blk.3.attn_qkv.weight"].rows) == 3
    assert tensors["blk.0.attn_q_norm.weight"].fill == 1
    assert "blk.3.attn_q.weight" not in tensors
    assert "output.weight" not in tensors


def test_the_padding_that_a_plan_is_told_is_what_the_file_has(tmp_path: Path) -> None:
    """Both are counted apart."""
    folder = save_cut(tmp_path / "model", "llama with every bias", EVERY_KIND_OF_CUT)
    subject = open_export_model(str(folder), tmp_path / "out.gguf")
    zeros = [tensor for tensor in list_tensors(subject) if not tensor.rows]

    assert subject.shape.padding(64) == sum(tensor.parameters for tensor in zeros)


def test_a_bias_of_an_emptied_sublayer_stays(tmp_path: Path) -> None:
    """And those of groups that are gone have no zeros in their place."""
    tensors = laid_out(save_cut(tmp_path / "model", "llama with every bias", EVERY_KIND_OF_CUT))

    assert tensors["blk.0.attn_output.bias"].rows
    assert tensors["blk.2.ffn_down.bias"].rows
    assert "blk.0.attn_q.bias" not in tensors


def test_a_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    """It is never lost in silence."""
    folder = save_cut(tmp_path / "model")
    stored: dict[str, Any] = load_file(folder / "model.safetensors")
    stored["lm_head.bias"] = stored["model.norm.weight"].clone()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lm_head\.bias: the model class wants nothing"):
        laid_out(folder)


MATRIX, ODD, VECTOR = (
    GgufTensor("matrix", (4, 64)),
    GgufTensor("odd", (4, 40)),
    GgufTensor("vector", (64,)),
)


@pytest.mark.parametrize("tensor", [MATRIX, ODD, VECTOR], ids=lambda tensor: tensor.name)
@pytest.mark.parametrize("name", NUMBER_FORMATS)
def test_bytes_are_known_before_a_number_is_read(name: str, tensor: GgufTensor) -> None:
    """The list of tensors stands before them in the file."""
    numbers = NumberFormat(name)
    encoded = numbers.encode(tensor, torch.randn(tensor.shape))

    assert encoded.nbytes == numbers.bytes_of(tensor)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("f32", torch.float32),
        ("f32", torch.float16),
        ("f32", torch.bfloat16),
        ("f16", torch.float16),
        ("bf16", torch.bfloat16),
    ],
)
def test_what_fits_is_exact(name: str, stored: torch.dtype) -> None:
    """Bit for bit."""
    values = torch.randn(4, 64).to(stored)
    numbers = NumberFormat(name)
    encoded = numbers.encode(MATRIX, values)
    back = dequantize(encoded, numbers.kind_of(MATRIX)).reshape(4, 64)

    assert (back == values.float().numpy()).all()


def test_the_rest_is_rounded_to_the_nearest() -> None:
    """q8_0 by a scale for 32 numbers, the others by their own bits."""
    values = torch.randn(4, 64)
    for name, error in (("f16", 2**-11), ("bf16", 2**-8)):
        encoded = NumberFormat(name).encode(MATRIX, values)
        back = torch.from_numpy(
            dequantize(encoded, NumberFormat(name).kind_of(MATRIX)).reshape(4, 64)
        )
        assert ((back - values).abs() <= error * values.abs() + 1e-7).all()
    blocks = torch.from_numpy(dequantize(NumberFormat("q8_0").encode(MATRIX, values), Kind.Q8_0))
    step = values.reshape(-1, 32).abs().amax(1, keepdim=True) / 127
    assert ((blocks.reshape(-1, 32) - values.reshape(-1, 32)).abs() <= 0.51 * step).all()


def test_vectors_are_float32_and_odd_rows_float16() -> None:
    """The latter are told, as the file is larger for them."""
    quantised = NumberFormat("q8_0")
    kinds = [quantised.kind_of(tensor) for tensor in (MATRIX, ODD, VECTOR)]

    assert kinds == [Kind.Q8_0, Kind.F16, Kind.F32]
    assert unquantised_names(quantised, (MATRIX, ODD, VECTOR)) == ("odd",)
    assert unquantised_names(NumberFormat("bf16"), (MATRIX, ODD, VECTOR)) == ()


@pytest.mark.parametrize(("name", "largest"), [("f16", 65_504), ("q8_0", 8_319_008)])
def test_numbers_beyond_a_kind_are_refused(name: str, largest: int) -> None:
    """They would be infinite."""
    values = torch.zeros(4, 64)
    values[1, 2] = largest
    NumberFormat(name).encode(MATRIX, values)
    values[3, 4] = -2 * largest
    with pytest.raises(CheckpointError, match=f"^matrix: holds numbers beyond {largest:,}"):
        NumberFormat(name).encode(MATRIX, values)
    NumberFormat("bf16").encode(MATRIX, values)


def test_the_default_is_the_checkpoints_own_sixteen_bits() -> None:
    """As llama.cpp's converter does."""
    assert [choose_number_format(None, stored).name for stored in ("BF16", "F16", "F32")] == [
        "bf16", "f16", "f16"
    ]  # fmt: skip
    assert choose_number_format("f32", "BF16").name == "f32"
    with pytest.raises(
        UsageError, match=r"--save-dtype q4_0: is not known; there are float32, .* q8_0"
    ):
        choose_number_format("q4_0", "BF16")
