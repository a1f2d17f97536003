"""How numbers stand in a GGUF file: the kinds that can be asked for, and the rounding to them.

Vectors stay float32, as llama.cpp wants them. A matrix whose rows a quantised block doesn't divide
stays float16.
"""

from dataclasses import dataclass
from typing import Any, Final

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType
from gguf.quants import quantize
from numpy.typing import NDArray

from globalprune.errors import CheckpointError, UsageError
from globalprune.export.gguf.tensors import GgufTensor
from globalprune.models.checkpoints.weight_checks import refuse_non_finite

NumberKinds = dict[str, tuple[Kind, LlamaFileType]]
KINDS: Final[NumberKinds] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_LONG: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_LARGEST: Final = {Kind.F16: 65_504, Kind.Q8_0: 127 * 65_504}  # its scales are float16


@dataclass(frozen=True)
class Numbers:
    """One of the kinds; `name` is how a person asks for it."""

    name: str

    @property
    def file_type(self) -> int:
        """What the file says that it mostly holds."""
        return int(KINDS[self.name][1])

    def kind_of(self, tensor: GgufTensor) -> Kind:
        """How one tensor is stored."""
        kind, _ = KINDS[self.name]
        if len(tensor.shape) == 1:
            return Kind.F32
        return Kind.F16 if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind

    def bytes_of(self, tensor: GgufTensor) -> int:
        """What one tensor takes."""
        block, size = gguf.GGML_QUANT_SIZES[self.kind_of(tensor)]
        return tensor.parameters // block * size

    def encode(self, tensor: GgufTensor, numbers: torch.Tensor) -> NDArray[Any]:
        """Round numbers for the file; raise `CheckpointError` for those beyond its range."""
        kind = self.kind_of(tensor)
        refuse_non_finite(tensor.name, numbers, "the checkpoint")
        exact = numbers.to(torch.float32).contiguous().numpy()
        largest = max(exact.max(), -exact.min())  # no copy of what may be a large embedding
        if largest > _LARGEST.get(kind, np.inf):
            raise CheckpointError(
                f"{tensor.name}: holds numbers beyond {_LARGEST[kind]:,}, where those of "
                f"{kind.name} end; say --save-dtype bf16 or f32."
            )
        encoded: NDArray[Any] = quantize(exact, kind)
        return encoded


def choose_numbers(dtype: str | None, stored: str) -> Numbers:
    """What was asked for, else the checkpoint's own sixteen bits, or float16 for wider ones."""
    if dtype is None:
        return Numbers("bf16" if stored == "BF16" else "f16")
    name = _LONG.get(dtype, dtype)
    if name not in KINDS:
        raise UsageError(
            f"--save-dtype {dtype}: is not known; there are {', '.join((*_LONG, 'q8_0'))} (or "
            f"{', '.join(_LONG.values())})."
        )
    return Numbers(name)


def unquantised(numbers: Numbers, tensors: tuple[GgufTensor, ...]) -> tuple[str, ...]:
    """The names of matrices that stay wider than was asked for."""
    asked, _ = KINDS[numbers.name]
    return tuple(
        one.name for one in tensors if len(one.shape) > 1 and numbers.kind_of(one) != asked
    )
