"""The programs that a cut model may have to run in, and the widths that plain configs can hold.

transformers and vLLM build every layer from its own sizes, by the modeling file beside the weights
(vLLM except for experts). llama.cpp reads what gp export writes, in the forms of `gguf_layout`.
`any` is a plain checkpoint of the architecture, which needs no code of ours.
"""

from typing import Final, Literal, get_args

from globalprune.artifacts.structure import ModelTraits

Runtime = Literal["transformers", "vllm", "llama.cpp", "any"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
QUANTISED_BLOCK: Final = 32  # numbers of a row that Q4_0 and Q8_0 scale together; K-quants: 256
EXPERT_ROWS: Final = 8  # transformers multiplies experts as one only in rows of 16 bytes
DIVIDED_BY_HEADS: Final = frozenset({"llama", "gemma2", "gemma3_text"})  # their hidden sizes
COUNTED_BY_HEADS: Final = frozenset({("phi3", "longrope")})  # rope factors: hidden size / heads


def stock_attention(traits: ModelTraits, groups: int, heads_per_group: int) -> list[int]:
    """Return how many attention groups of each layer a plain config can hold, fewest first."""
    heads = groups * heads_per_group
    return [
        kept
        for kept in range(1, groups + 1)
        if _config_takes(traits, kept * heads_per_group, heads)
    ]


def _config_takes(traits: ModelTraits, kept: int, heads: int) -> bool:
    """Whether the architecture's config class takes `kept` of `heads` query heads."""
    if traits.model_type in DIVIDED_BY_HEADS:
        return traits.hidden_size % kept == 0
    if (traits.model_type, traits.rope_type) in COUNTED_BY_HEADS:
        return traits.hidden_size // kept == traits.hidden_size // heads
    return True
