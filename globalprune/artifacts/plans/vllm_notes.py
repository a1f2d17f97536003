"""What is to be known of a cut model that vLLM loads: facts, found by running it.

tests/parity/test_vllm.py and tests/slow/test_smollm2_vllm.py hold them against the real program.
"""

from collections.abc import Iterator

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_effect import PlanEffect


def vllm_notes(traits: ModelTraits, structure: ModelStructure, effect: PlanEffect) -> Iterator[str]:
    """Say what differs from what the plan promises, and what has to be said when starting it."""
    yield from narrow_qwen2(traits, structure, effect)
    if empty := IndexRanges.of(cached_though_empty(effect)):
        yield (
            f"layers without attention: {empty}; vLLM keeps the KV cache of one group for each, "
            "which the plan counts as saved."
        )
    sizes = {max(1, len(layer.attention)) for layer in effect.kept_layers}
    if traits.sliding_window and any(max(sizes) % size for size in sizes):
        yield (
            "where some layers have a sliding window and others have none, vLLM's KV cache saves "
            f"nothing in layers whose groups don't divide {max(sizes)}, the most of any layer."
        )


def cached_though_empty(effect: PlanEffect) -> list[int]:
    """The layers for which vLLM keeps the cache of one attention group that is never used."""
    return [layer.layer_idx for layer in effect.kept_layers if not layer.attention]


def narrow_qwen2(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Tell of the one plain checkpoint that vLLM's own class doesn't load."""
    if traits.model_type != "qwen2" or effect.uneven:
        return
    first = effect.kept_layers[0]
    layer = structure.layers[first.layer_idx]
    heads = len(first.attention) * layer.query_heads_per_group
    if heads * layer.head_dim != traits.hidden_size:
        yield (
            f"vLLM's own Qwen2 takes its heads for {traits.hidden_size} / {heads} wide, where they "
            f"are {layer.head_dim}; start it with --model-impl transformers."
        )
