"""What a number takes on disk, by safetensors' own names of dtypes."""

from globalprune.errors import CheckpointError

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


def stored_bytes(numbers: int, dtype: str) -> int:
    """The bytes of so many numbers; raise `CheckpointError` for a dtype that can't be cut."""
    if dtype not in DTYPE_BYTES:
        raise CheckpointError(
            f"a tensor has dtype {dtype}, which can't be cut; load and save the model as "
            f"one of {', '.join(DTYPE_BYTES)} first."
        )
    return numbers * DTYPE_BYTES[dtype]
