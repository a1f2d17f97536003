"""The programs that a cut model may have to run in, and what plain checkpoints can say: facts.

transformers and vLLM build every layer from its own sizes, by the modeling file beside the weights;
what vLLM saves less is in `vllm_notes`.
llama.cpp reads what gp export writes, in the forms of `gguf_forms`. `any` is a plain checkpoint of
the architecture, which needs no code of ours.
"""

from typing import Final, Literal, get_args

from globalprune.artifacts.analyses.model_traits import ModelTraits

Runtime = Literal["transformers", "vllm", "llama.cpp", "any"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
QUANTISED_BLOCK: Final = 32  # numbers of a row that Q4_0 and Q8_0 scale together; K-quants: 256
DIVIDED_BY_HEADS: Final = frozenset({"llama", "gemma2", "gemma3_text"})  # their hidden sizes


def stock_attention(traits: ModelTraits, groups: int, heads_per_group: int) -> list[int]:
    """How many attention groups of each layer a plain config can have, fewest first."""
    return [
        kept
        for kept in range(1, groups + 1)
        if traits.model_type not in DIVIDED_BY_HEADS
        or traits.hidden_size % (kept * heads_per_group) == 0
    ]
