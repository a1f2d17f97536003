"""Whether a model's file is a quantisation, and which: its loss of precision stays in all we make.

A name such as Q4_K_M is what the file says of itself; where it says nothing, it is the kind of most
of its numbers.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType

from globalprune.models.checkpoints.gguf_header import GgufHeader, read_gguf_header
from globalprune.models.sources.source import ModelSource

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


def quantisation_notes(source: ModelSource) -> Iterator[str]:
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
