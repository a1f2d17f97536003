"""The size of weights on disk: bytes per dtype, headers, shards and indices.

Budgets in bytes are computed from these figures without the model. They count the files that `gp
apply` writes for the weights.
"""

from typing import Final, Literal

from pydantic import Field

from globalprune.artifacts.records import Record
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import CheckpointError, UsageError

# bytes of one element, by safetensors' own names; sub-byte types can't be cut at arbitrary channels
DTYPE_BYTES: dict[str, int] = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
Dtype = Literal["float32", "bfloat16", "float16", "int8"]  # that budgets count in
NUMBER_BYTES: Final[dict[Dtype, int]] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
SAVE_DTYPES: Final = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_ALIASES: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
_NAMES: Final = {stored: name for name, stored in SAVE_DTYPES.items()} | {"F64": "float64"}


def stored_bytes(numbers: int, dtype: str) -> int:
    """Return the bytes of so many numbers; raise `CheckpointError` for an unknown dtype."""
    if dtype not in DTYPE_BYTES:
        raise CheckpointError(
            f"a tensor has dtype {dtype}, which can't be cut; load and save the model as "
            f"one of {', '.join(DTYPE_BYTES)} first."
        )
    return numbers * DTYPE_BYTES[dtype]


def is_float(dtype: str) -> bool:
    """Return whether a stored dtype is floating-point, so that it can be converted."""
    return "F" in dtype


def written_dtype(stored: str, save_dtype: str | None) -> str:
    """Return the dtype that a tensor stored as `stored` is written in.

    `save_dtype` is a key of `SAVE_DTYPES`, or None to convert nothing. Integers and booleans are
    never converted.
    """
    return SAVE_DTYPES[save_dtype] if save_dtype is not None and is_float(stored) else stored


def parse_save_dtype(text: str | None) -> str | None:
    """Return the key of `SAVE_DTYPES` that `text` names; raise `UsageError` for another dtype."""
    if text is None:
        return None
    name = _ALIASES.get(text, text)
    if name not in SAVE_DTYPES:
        raise UsageError(
            f"--save-dtype {text}: is no dtype that weights are written in; there are "
            f"{', '.join(SAVE_DTYPES)}."
        )
    return name


def dtype_name(stored: str) -> str:
    """Return torch's name of a stored dtype: `float32` for F32."""
    return _NAMES.get(stored, stored.lower())


class StoredWeights(Record):
    """The weights of a model as its checkpoint stores them."""

    file_bytes: int = Field(ge=0)  # of all files, if nothing is cut or converted
    overhead: int = Field(ge=0)  # bytes of headers and index, at most, whatever is cut or converted
    numbers: dict[str, int]  # how many are stored as each dtype, by safetensors' names
    group_bytes: tuple[tuple[int, int], ...]  # [layers][kinds], of one group's tensors

    @property
    def dtype(self) -> str | None:
        """Return the dtype of all floating-point tensors; None where they have several."""
        floats = [dtype for dtype in self.numbers if is_float(dtype)]
        return dtype_name(floats[0]) if len(floats) == 1 else None

    @property
    def dtypes_text(self) -> str:
        """Return the names of all dtypes: `float32`, or `bfloat16 and float32`."""
        return " and ".join(sorted(map(dtype_name, self.numbers)))

    def fault(self, structure: ModelStructure) -> str | None:
        """Return why no model of that structure is stored so; None where one may be."""
        layers = len(structure.layers)
        if len(self.group_bytes) != layers:
            return f"says the groups' bytes of {len(self.group_bytes)} layers of {layers}"
        strange = [of for of, count in self.numbers.items() if of not in DTYPE_BYTES or count < 1]
        if strange or not self.numbers:
            return f"counts numbers of {', '.join(strange) or 'no dtype'}, and a model has others"
        in_groups = [
            sublayer.groups * self.group_bytes[layer][GROUP_TYPES.index(kind)]
            for layer, kind, sublayer in structure.sublayers()
        ]
        whole = self.tensor_bytes(None)
        if min(in_groups, default=0) < 0 or sum(in_groups) > whole:
            return f"gives the groups {sum(in_groups):,} bytes of {whole:,}"
        return None

    def tensor_bytes(self, dtype: Dtype | None) -> int:
        """Return the bytes of all tensors as stored, or with floating-point ones as `dtype`."""
        return sum(
            count * (NUMBER_BYTES[dtype] if dtype and is_float(stored) else DTYPE_BYTES[stored])
            for stored, count in self.numbers.items()
        )

    def most_bytes(self, dtype: Dtype | None) -> int:
        """Return the most bytes that all files take if nothing is cut, as `tensor_bytes`."""
        return self.tensor_bytes(dtype) + self.overhead
