"""What each runtime can hold of a model whose layers differ: facts as data, tried by experiment.

transformers and vLLM build every layer from its own sizes, by the modeling file beside the weights.
llama.cpp has no code of ours: layers differ only where one of its architectures counts heads and
channels by layer. `any` is a plain checkpoint of the architecture, which every runtime reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from globalprune.artifacts.analyses.model_traits import ModelTraits

Runtime = Literal["transformers", "vllm", "llama.cpp", "any"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
QUANTISED_BLOCK: Final = 32  # numbers of a row that Q4_0 and Q8_0 scale together; K-quants: 256


@dataclass(frozen=True)
class UnevenForm:
    """An architecture of llama.cpp that counts by layer, and what it asks of a model."""

    name: str
    takes: Callable[[ModelTraits], bool]
    empty_attention: bool  # in any layer but the first


def _as_deci(traits: ModelTraits) -> bool:
    plain_rope = traits.rope_type in {"default", "llama3"}
    return plain_rope and traits.activation == "silu" and not traits.sliding_window


def _as_openelm(traits: ModelTraits) -> bool:
    return _as_deci(traits) and traits.rope_type == "default" and traits.tied_embeddings


_DECI: Final = UnevenForm("deci", _as_deci, empty_attention=True)
UNEVEN_GGUF: Final = {
    "llama": _DECI,
    "mistral": _DECI,
    "qwen2": _DECI,
    "qwen3": UnevenForm("openelm", _as_openelm, empty_attention=False),
}
DIVIDED_BY_HEADS: Final = frozenset({"llama", "gemma2", "gemma3_text"})  # their hidden sizes


def uneven_gguf(traits: ModelTraits) -> UnevenForm | None:
    """The architecture in which llama.cpp holds a model of unlike layers; None where it can't."""
    form = UNEVEN_GGUF.get(traits.model_type)
    return form if form is not None and form.takes(traits) else None


def stock_attention(traits: ModelTraits, groups: int, heads_per_group: int) -> list[int]:
    """How many attention groups of each layer a plain config can have, fewest first."""
    return [
        kept
        for kept in range(1, groups + 1)
        if traits.model_type not in DIVIDED_BY_HEADS
        or traits.hidden_size % (kept * heads_per_group) == 0
    ]
