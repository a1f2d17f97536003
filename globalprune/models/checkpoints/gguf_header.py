"""The header of a GGUF file: metadata, tensors, and how they are quantised."""

import math
import mmap
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType

from globalprune.errors import CheckpointError
from globalprune.models.sources.plain_files import refuse_special
from globalprune.models.sources.source import ModelSource

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_NUMBERS: Final = {  # kinds of values, as struct spells them
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_DIMENSIONS: Final = 4  # ggml knows no more
_MOST_NUMBERS: Final = 1 << 45  # of one tensor
_STRING: Final = 8
_ARRAY: Final = 9


@dataclass(frozen=True)
class GgufTensorInfo:
    """Shape, rows first, and the number by which ggml knows how a tensor is stored."""

    shape: tuple[int, ...]
    kind: int


@dataclass(frozen=True)
class GgufHeader:
    """What a file says of itself; of an array, its length alone."""

    keys: Mapping[str, Any]
    tensors: Mapping[str, GgufTensorInfo]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of it."""
        return str(self.keys.get("general.architecture", ""))

    def own(self, key: str) -> Any:
        """The value of a key of the architecture, or None."""
        return self.keys.get(f"{self.architecture}.{key}")


def is_gguf(path: Path) -> bool:
    """Whether a file begins as every GGUF file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf_header(path: Path) -> GgufHeader:
    """Read a file's head; raise `CheckpointError` for what is no whole one."""
    again = "download it again, or give a folder."
    refuse_special(path)
    if not is_gguf(path):
        raise CheckpointError(f"{path}: is no GGUF file; {again}")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            return _Reader(held).header()
    except (ValueError, LookupError, OverflowError) as error:
        raise CheckpointError(f"{path}: is no whole GGUF file ({error}); {again}") from error


class _Reader:
    """Walks through the head from its first byte."""

    def __init__(self, held: mmap.mmap) -> None:
        self._held = held
        self._at = len(MAGIC)

    def header(self) -> GgufHeader:
        """All of it."""
        version = self._number("<I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        tensors, keys = self._number("<Q"), self._number("<Q")
        if tensors + keys > len(self._held):  # each takes more than a byte
            raise ValueError(f"{tensors:,} tensors and {keys:,} keys in {len(self._held):,} bytes")
        values = {self._string(): self._value(self._number("<I")) for _ in range(keys)}
        found = dict(self._tensor() for _ in range(tensors))
        if len(found) < tensors:
            raise ValueError("two tensors have one name")
        return GgufHeader(values, found)

    def _tensor(self) -> tuple[str, GgufTensorInfo]:
        name = self._string()
        dimensions = self._number("<I")
        if dimensions > _DIMENSIONS:
            raise ValueError(f"{name} has {dimensions:,} dimensions")
        columns_first = [self._number("<Q") for _ in range(dimensions)]
        if math.prod(columns_first) > _MOST_NUMBERS:
            raise ValueError(f"{name} is {list(reversed(columns_first))}")
        kind, _ = self._number("<I"), self._number("<Q")
        return name, GgufTensorInfo(tuple(reversed(columns_first)), kind)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        return self._number(_NUMBERS[kind])

    def _array(self) -> int:
        """Step over an array; return its length."""
        kind, length = self._number("<I"), int(self._number("<Q"))
        if kind == _ARRAY:
            raise ValueError("an array of arrays, which no model needs")
        if length > len(self._held):
            raise ValueError(f"an array of {length:,} values in {len(self._held):,} bytes")
        if kind in _NUMBERS:
            self._at += length * struct.calcsize(_NUMBERS[kind])
        else:
            for _ in range(length):
                self._value(kind)
        return length

    def _string(self) -> str:
        return self._bytes(self._number("<Q")).decode("utf-8", errors="replace")

    def _number(self, spelled: str) -> Any:
        [number] = struct.unpack(spelled, self._bytes(struct.calcsize(spelled)))
        return number

    def _bytes(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        if self._at > len(self._held):
            raise ValueError("it ends within its head")
        return self._held[start : self._at]


_FLOAT: Final = frozenset({Kind.F64, Kind.F32, Kind.F16, Kind.BF16})
_FILE_TYPE: Final = "general.file_type"


def quantisation_of(source: ModelSource) -> str | None:
    """The name of the quantisation, as `Q4_K_M`; None for a model in floating point."""
    if not source.is_gguf:
        return None
    header = read_gguf_header(source.path)
    numbers = _numbers_by_kind(header)
    quantised = [kind for kind, _ in numbers.most_common() if kind not in _FLOAT]
    if not quantised:
        return None
    named = _said_of_itself(header)
    return named if named is not None else _name(quantised[0])


def quantisation_warnings(source: ModelSource) -> Iterator[str]:
    """Yield what is to be known of a model that is a quantisation."""
    if name := quantisation_of(source):
        yield (
            f"{source.name} is a {name} quantisation: whatever is measured or made here is of its "
            "dequantised weights, with the precision that they lost."
        )


def _numbers_by_kind(header: GgufHeader) -> Counter[int]:
    found: Counter[int] = Counter()
    for tensor in header.tensors.values():
        found[tensor.kind] += math.prod(tensor.shape)
    return found


def _said_of_itself(header: GgufHeader) -> str | None:
    """The file type by its usual name; None where it says none, or one in floating point."""
    said = header.keys.get(_FILE_TYPE)
    known = {int(one): one.name for one in LlamaFileType}
    name = known.get(said, "") if isinstance(said, int) else ""
    return name.removeprefix("MOSTLY_") if name.startswith("MOSTLY_Q") else None


def _name(kind: int) -> str:
    """Find ggml's name of how numbers are stored."""
    return next((one.name for one in Kind if one == kind), f"ggml type {kind}")
