"""A small GGUF file costs neither memory nor minutes, whatever its head says of itself."""

import struct
from pathlib import Path

import pytest

from globalprune.errors import CheckpointError
from globalprune.models.loading import load_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.refusals import refuse_unreadable


def text(value: bytes) -> bytes:
    """A string as the format has it."""
    return struct.pack("<Q", len(value)) + value


def number(key: bytes, value: int) -> bytes:
    """A key of a llama, with a number."""
    return text(b"llama." + key) + struct.pack("<II", 4, value)


def head(tensors: int, keys: int, body: bytes) -> bytes:
    """The head of a file with so many of each."""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + body


LLAMA = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
ARRAYS = text(b"x") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 3000
EMBEDDING = text(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 8, 4, 0, 0)
SHAPE = text(b"t") + struct.pack("<IQQIQ", 2, 2**62, 2**62, 0, 0)
HEADS: dict[str, tuple[bytes, str]] = {
    "nested arrays": (head(0, 1, ARRAYS), "an array of arrays"),
    "a count of keys": (head(2**60, 2**60, b""), "tensors and .* keys in 24 bytes"),
    "a long array": (
        head(0, 1, text(b"x") + struct.pack("<IIQ", 9, 8, 2**40)),
        r"an array of 1,099,511,627,776 values in 49 bytes",
    ),
    "dimensions": (head(1, 1, LLAMA + text(b"t") + struct.pack("<I", 2**31)), "dimensions"),
    "a shape": (head(1, 1, LLAMA + SHAPE), r"t is \[4611686018427387904, 46116"),
    "cut short": (head(3, 5, LLAMA), "it ends within its head"),
    "nothing but its name": (head(0, 1, LLAMA), "has no block_count; download it again"),
    "more layers": (
        head(1, 2, LLAMA + number(b"block_count", 10**9) + EMBEDDING),
        "says block_count 1,000,000,000, and its tensors make it 0",
    ),
    "no head": (
        head(0, 2, LLAMA + number(b"attention.head_count", 0)),
        "has no block_count|attention.head_count 0, not a positive",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_an_odd_head_is_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    """By every way to read it, with what was found."""
    content, message = HEADS[name]
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        refuse_unreadable(PreparedModel(file))
    with pytest.raises(CheckpointError, match=message):
        load_model(file)
