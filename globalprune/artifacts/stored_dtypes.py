"""What a number takes on disk, by safetensors' own names of dtypes, and by the names people use."""

from typing import Final, Literal

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
_SHORT: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
_WORDS: Final = {stored: name for name, stored in SAVE_DTYPES.items()} | {"F64": "float64"}


def stored_bytes(numbers: int, dtype: str) -> int:
    """The bytes of so many numbers; raise `CheckpointError` for a dtype that can't be cut."""
    if dtype not in DTYPE_BYTES:
        raise CheckpointError(
            f"a tensor has dtype {dtype}, which can't be cut; load and save the model as "
            f"one of {', '.join(DTYPE_BYTES)} first."
        )
    return numbers * DTYPE_BYTES[dtype]


def is_float(dtype: str) -> bool:
    """Whether numbers of that stored dtype are floating-point, so that they can be converted."""
    return "F" in dtype


def written_dtype(stored: str, save_dtype: str | None) -> str:
    """What a tensor is written as that is `stored` so; `save_dtype` is a key of `SAVE_DTYPES`.

    Integers and flags are never converted, and without a `save_dtype` nothing is.
    """
    return SAVE_DTYPES[save_dtype] if save_dtype is not None and is_float(stored) else stored


def read_save_dtype(text: str | None) -> str | None:
    """The key of `SAVE_DTYPES` that a person names; raise `UsageError` for another dtype."""
    if text is None:
        return None
    name = _SHORT.get(text, text)
    if name not in SAVE_DTYPES:
        raise UsageError(
            f"--save-dtype {text}: is no dtype that weights are written in; there are "
            f"{', '.join(SAVE_DTYPES)}."
        )
    return name


def dtype_word(stored: str) -> str:
    """`float32` for F32, and so on."""
    return _WORDS.get(stored, stored.lower())
