"""Numbers are exact where the kind holds them, rounded where it doesn't, and never infinite."""

import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize

from globalprune.errors import CheckpointError, UsageError
from globalprune.export.gguf.numbers import KINDS, Numbers, choose_numbers, unquantised
from globalprune.export.gguf.tensors import GgufTensor

MATRIX, ODD, VECTOR = (
    GgufTensor("matrix", (4, 64)),
    GgufTensor("odd", (4, 40)),
    GgufTensor("vector", (64,)),
)


@pytest.mark.parametrize("tensor", [MATRIX, ODD, VECTOR], ids=lambda tensor: tensor.name)
@pytest.mark.parametrize("name", KINDS)
def test_bytes_are_known_before_a_number_is_read(name: str, tensor: GgufTensor) -> None:
    """The list of tensors stands before them in the file."""
    numbers = Numbers(name)
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
    numbers = Numbers(name)
    encoded = numbers.encode(MATRIX, values)
    back = dequantize(encoded, numbers.kind_of(MATRIX)).reshape(4, 64)

    assert (back == values.float().numpy()).all()


def test_the_rest_is_rounded_to_the_nearest() -> None:
    """q8_0 by a scale for 32 numbers, the others by their own bits."""
    values = torch.randn(4, 64)
    for name, error in (("f16", 2**-11), ("bf16", 2**-8)):
        encoded = Numbers(name).encode(MATRIX, values)
        back = torch.from_numpy(dequantize(encoded, Numbers(name).kind_of(MATRIX)).reshape(4, 64))
        assert ((back - values).abs() <= error * values.abs() + 1e-7).all()
    blocks = torch.from_numpy(dequantize(Numbers("q8_0").encode(MATRIX, values), Kind.Q8_0))
    step = values.reshape(-1, 32).abs().amax(1, keepdim=True) / 127
    assert ((blocks.reshape(-1, 32) - values.reshape(-1, 32)).abs() <= 0.51 * step).all()


def test_vectors_are_float32_and_odd_rows_float16() -> None:
    """The latter are told, as the file is larger for them."""
    quantised = Numbers("q8_0")
    kinds = [quantised.kind_of(tensor) for tensor in (MATRIX, ODD, VECTOR)]

    assert kinds == [Kind.Q8_0, Kind.F16, Kind.F32]
    assert unquantised(quantised, (MATRIX, ODD, VECTOR)) == ("odd",)
    assert unquantised(Numbers("bf16"), (MATRIX, ODD, VECTOR)) == ()


@pytest.mark.parametrize(("name", "largest"), [("f16", 65_504), ("q8_0", 8_319_008)])
def test_numbers_beyond_a_kind_are_refused(name: str, largest: int) -> None:
    """They would be infinite."""
    values = torch.zeros(4, 64)
    values[1, 2] = largest
    Numbers(name).encode(MATRIX, values)
    values[3, 4] = -2 * largest
    with pytest.raises(CheckpointError, match=f"^matrix: holds numbers beyond {largest:,}"):
        Numbers(name).encode(MATRIX, values)
    Numbers("bf16").encode(MATRIX, values)


def test_the_default_is_the_checkpoints_own_sixteen_bits() -> None:
    """As llama.cpp's converter does."""
    assert [choose_numbers(None, stored).name for stored in ("BF16", "F16", "F32")] == [
        "bf16", "f16", "f16"
    ]  # fmt: skip
    assert choose_numbers("f32", "BF16").name == "f32"
    with pytest.raises(
        UsageError, match=r"--save-dtype q4_0: is not known; there are float32, .* q8_0"
    ):
        choose_numbers("q4_0", "BF16")
