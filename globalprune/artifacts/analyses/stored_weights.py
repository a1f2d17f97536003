"""What a model's weights take on disk, so that a budget in bytes is counted without the model.

Counted are the files that hold weights, as `gp apply` writes them: headers, tensors, and the index
of several shards. A header gets shorter where tensors do, by few bytes; so what a cut leaves is
known as the most that it can take.
"""

from pydantic import Field

from globalprune.artifacts.record import Record
from globalprune.artifacts.stored_dtypes import (
    DTYPE_BYTES,
    NUMBER_BYTES,
    Dtype,
    dtype_word,
    is_float,
)


class StoredWeights(Record):
    """The weights of a model as its checkpoint stores them."""

    file_bytes: int = Field(ge=0)  # of all files, if nothing is cut or converted
    overhead: int = Field(ge=0)  # bytes of headers and index, at most, whatever is cut or converted
    numbers: dict[str, int]  # how many are stored as each dtype, by safetensors' names
    group_bytes: tuple[tuple[int, int], ...]  # [layers][kinds], of one group's tensors

    @property
    def dtype(self) -> str | None:
        """The dtype of all floating-point tensors; None where they have several."""
        floats = [dtype for dtype in self.numbers if is_float(dtype)]
        return dtype_word(floats[0]) if len(floats) == 1 else None

    @property
    def dtypes_text(self) -> str:
        """`float32`, or `float32 and bfloat16`."""
        return " and ".join(sorted(map(dtype_word, self.numbers)))

    def tensor_bytes(self, dtype: Dtype | None) -> int:
        """All numbers as they are stored, or the floating-point ones as `dtype`."""
        return sum(
            count * (NUMBER_BYTES[dtype] if dtype and is_float(stored) else DTYPE_BYTES[stored])
            for stored, count in self.numbers.items()
        )

    def most_bytes(self, dtype: Dtype | None) -> int:
        """What all files take at most if nothing is cut, as stored or with floats as `dtype`."""
        return self.tensor_bytes(dtype) + self.overhead
