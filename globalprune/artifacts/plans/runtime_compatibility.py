"""What transformers, vLLM and llama.cpp can load of a model that is cut by a plan.

transformers and vLLM build every layer from its own sizes, by the modeling file beside the weights
(vLLM except for experts). llama.cpp reads what gp export writes, in the forms of `gguf_layout`.
`any` is a plain checkpoint of the architecture, which needs no code of ours.

Obstacles keep a runtime from loading the model and are known before the cut. Notes are facts that
were found by running vLLM; tests/parity/test_vllm.py checks them. llama.cpp derives the kind of a
layer's attention from its position in the file, which matters when layers are removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS, GgufForm, gguf_shape
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Runtime
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.structure import LayerKind, ModelStructure, ModelTraits

EXPERT_ROWS: Final = 8  # transformers multiplies experts as one only in rows of 16 bytes
DIVIDED_BY_HEADS: Final = frozenset({"llama", "gemma2", "gemma3_text"})  # their hidden sizes
COUNTED_BY_HEADS: Final = frozenset({("phi3", "longrope")})  # rope factors: hidden size / heads
TRIED_IN_VLLM: Final = frozenset(  # the types of which tests/parity/test_vllm.py runs cuts
    {
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "phi3",
        "olmo2",
        "smollm3",
        "granite",
        "gemma2",
        "gemma3_text",
    }
)
_LAYERS_DIFFER: Final = (
    "the layers that stay differ, which a plain checkpoint can't say; plan with --uniform, or with "
    "--whole-layers."
)
_EXPERTS_DIFFER: Final = (
    "the layers or experts that stay differ, which a plain checkpoint can't say; take as many "
    "channels of every expert, and as many groups of every layer."
)
_KIND_PHRASES: Final[dict[LayerKind, str]] = {
    "full": "attention to all that came before",
    "sliding": "a sliding window",
    "no_rope": "no rope",
}


@dataclass(frozen=True)
class Cycle:
    """Of every `length` layers the last one is of kind `last`, the others of kind `others`."""

    length: int
    others: LayerKind
    last: LayerKind

    def kind_at(self, position: int) -> LayerKind:
        """Return the kind of the layer at a position, counted from 0."""
        return self.others if (position + 1) % self.length else self.last

    @property
    def ordinal(self) -> str:
        """`length` as an ordinal number: 2nd, 6th."""
        return f"{self.length}{'nd' if self.length == 2 else 'th'}"  # noqa: PLR2004


CYCLES: Final = {
    "smollm3": Cycle(4, "full", "no_rope"),
    "gemma2": Cycle(2, "sliding", "full"),
    "gemma3_text": Cycle(6, "sliding", "full"),
}


def obstacles(
    runtime: Runtime, traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield a sentence for everything that keeps the runtime from loading the cut model."""
    if runtime == "vllm" and structure.has_experts:
        for reason in _plain_checkpoint_obstacles(traits, structure, effect):
            yield f"vLLM takes the experts of a layer together, from plain checkpoints: {reason}"
    if runtime == "any":
        yield from _plain_checkpoint_obstacles(traits, structure, effect)
        yield from filter(None, [misread_whole(traits) or misread_cut(traits, effect)])
    if runtime == "llama.cpp":
        yield from _gguf_obstacles(traits, structure, effect)


def stock_attention(traits: ModelTraits, groups: int, heads_per_group: int) -> list[int]:
    """Return how many attention groups of each layer a plain config can hold, fewest first."""
    heads = groups * heads_per_group
    return [
        kept
        for kept in range(1, groups + 1)
        if _config_takes(traits, kept * heads_per_group, heads)
    ]


def vllm_notes(traits: ModelTraits, structure: ModelStructure, effect: PlanEffect) -> Iterator[str]:
    """Yield how vLLM differs from what the plan promises, and how it has to be started."""
    if traits.model_type not in TRIED_IN_VLLM:
        yield (
            f"no cut of a {traits.model_type} was ever tried in vLLM; run the result there before "
            "you count on it."
        )
    yield from narrow_qwen2(traits, structure, effect)
    if empty := IndexSet.of(cached_though_empty(effect)):
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
    """Return the layers for which vLLM keeps the cache of one attention group, unused."""
    return [layer.layer_idx for layer in effect.kept_layers if not layer.attention]


def narrow_qwen2(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield a sentence for the one plain checkpoint that vLLM's own class doesn't load."""
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


def position_cycle(traits: ModelTraits) -> Cycle | None:
    """Return the cycle by which llama.cpp tells layers of the family apart; None without one."""
    return CYCLES.get(traits.model_type)


def misread_whole(traits: ModelTraits) -> str | None:
    """Describe how llama.cpp misreads the model even if nothing is cut; None if it doesn't."""
    cycle = position_cycle(traits)
    kinds = traits.layer_kinds or ()
    if cycle and any(kind != cycle.kind_at(position) for position, kind in enumerate(kinds)):
        return (
            f"llama.cpp takes each {cycle.ordinal} layer of a {traits.model_type} to have "
            f"{_KIND_PHRASES[cycle.last]}; this model says otherwise, so it isn't loaded there as "
            "what it is, cut or whole."
        )
    return None


def misread_cut(traits: ModelTraits, effect: PlanEffect) -> str | None:
    """Describe the first layer that llama.cpp misreads after the cut; None if there is none."""
    cycle = position_cycle(traits)
    if cycle is None or not effect.dropped_layers:
        return None
    kinds = traits.layer_kinds or tuple(map(cycle.kind_at, range(len(effect.layers))))
    for position, layer in enumerate(effect.kept_layers):
        kind, read_as = kinds[layer.layer_idx], cycle.kind_at(position)
        if kind != read_as:
            return (
                f"llama.cpp counts the layers of {traits.model_type} by their place (each "
                f"{cycle.ordinal} has {_KIND_PHRASES[cycle.last]}), and layer {layer.layer_idx}, "
                f"which has {_KIND_PHRASES[kind]}, moves to a place where it takes it for one with "
                f"{_KIND_PHRASES[read_as]}; keep all layers (plan without --whole-layers, or give "
                "the dropped ones back a group)."
            )
    return None


def _plain_checkpoint_obstacles(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield why a config of the architecture can't describe what is left."""
    if effect.uneven:
        yield _LAYERS_DIFFER if not structure.has_experts else _EXPERTS_DIFFER
        return
    yield from _odd_experts(structure, effect)
    first = effect.kept_layers[0]
    layer = structure.layers[first.layer_idx]
    allowed = stock_attention(traits, layer.attention.groups, layer.query_heads_per_group)
    if len(first.attention) not in allowed:
        heads = len(first.attention) * layer.query_heads_per_group
        yield (
            f"a config of {traits.model_type} takes no {heads} heads at a hidden size of "
            f"{traits.hidden_size}; keep {' or '.join(map(str, allowed))} attention groups."
        )


def _odd_experts(structure: ModelStructure, effect: PlanEffect) -> Iterator[str]:
    """Yield the width of experts, all alike, that transformers can't multiply as one."""
    for layer in effect.kept_layers:
        width = next(iter(layer.experts), 0)
        if width % EXPERT_ROWS and layer.experts != structure.layers[layer.layer_idx].mlp.experts:
            yield (
                f"its experts have {width} channels, and transformers multiplies those of a layer "
                f"as one only in multiples of {EXPERT_ROWS}."
            )
            return


def _gguf_obstacles(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield why gp export has no form for what is left."""
    shape = gguf_shape(traits, structure, effect)
    if shape is None and structure.has_experts:
        yield f"gp export knows no form of {traits.model_type} in llama.cpp."
        return
    if shape is None:
        yield (
            f"gp export knows no form of {traits.model_type} in llama.cpp; plan with --for any, "
            "and give the plain checkpoint to llama.cpp's own converter."
        )
        return
    if not shape.layers:
        yield "no layer has anything left, and llama.cpp wants one."
    missing = _missing_features(shape.form, traits, structure)
    if not missing:
        return
    alike = GGUF_FORMS[traits.model_type].alike
    if shape.form.by_layer and not _missing_features(alike, traits, structure):
        yield (
            f"llama.cpp has no form of this {traits.model_type} in which layers differ (its "
            f"{shape.form.architecture} has {missing}); plan with --uniform, or with "
            "--whole-layers."
        )
    else:
        yield (
            f"llama.cpp has no form of this {traits.model_type}: its {shape.form.architecture} has "
            f"{missing}."
        )


def _missing_features(form: GgufForm, traits: ModelTraits, structure: ModelStructure) -> str:
    """What the architecture can't hold, joined with "and"; empty where it holds everything."""
    return " and ".join(form.missing_features(traits, structure))


def _config_takes(traits: ModelTraits, kept: int, heads: int) -> bool:
    """Return whether the architecture's config class takes `kept` of `heads` query heads."""
    if traits.model_type in DIVIDED_BY_HEADS or traits.heads_divide_hidden_size:
        return traits.hidden_size % kept == 0
    if (traits.model_type, traits.rope_type) in COUNTED_BY_HEADS:
        return traits.hidden_size // kept == traits.hidden_size // heads
    return True
