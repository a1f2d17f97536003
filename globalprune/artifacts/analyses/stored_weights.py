"""What a model's weights take on disk, so that a budget in bytes is counted without the model.

Counted are the files that hold weights, as `gp apply` writes them: headers, tensors, and the index
of several shards. A header gets shorter where tensors do, by few bytes; so what a cut leaves is
known as the most that it can take.
"""

from pydantic import Field

from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure
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

    def fault(self, structure: ModelStructure) -> str | None:
        """Why no model of that structure is stored so; None where one may be."""
        layers = len(structure.layers)
        if len(self.group_bytes) != layers:
            return f"says the groups' bytes of {len(self.group_bytes)} layers of {layers}"
        strange = [of for of, count in self.numbers.items() if of not in DTYPE_BYTES or count < 1]
        if strange or not self.numbers:
            return f"counts numbers of {', '.join(strange) or 'no dtype'}, and a model has others"
        in_groups = [
            half.groups * self.group_bytes[layer][GROUP_TYPES.index(kind)]
            for layer, kind, half in structure.halves()
        ]
        whole = self.tensor_bytes(None)
        if min(in_groups, default=0) < 0 or sum(in_groups) > whole:
            return f"gives the groups {sum(in_groups):,} bytes of {whole:,}"
        return None

    def tensor_bytes(self, dtype: Dtype | None) -> int:
        """All numbers as they are stored, or the floating-point ones as `dtype`."""
        return sum(
            count * (NUMBER_BYTES[dtype] if dtype and is_float(stored) else DTYPE_BYTES[stored])
            for stored, count in self.numbers.items()
        )

    def most_bytes(self, dtype: Dtype | None) -> int:
        """What all files take at most if nothing is cut, as stored or with floats as `dtype`."""
        return self.tensor_bytes(dtype) + self.overhead
