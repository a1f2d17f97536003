"""What transformers, vLLM and llama.cpp can load of a model cut by a plan.

Obstacles keep a runtime from loading the model and are known before the cut. Notes are facts found
by running vLLM; tests/parity/test_vllm.py checks them. llama.cpp derives a layer's attention from
its position in the file, which matters when layers are removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS, GgufForm, gguf_shape
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.runtimes import EXPERT_ROWS, Runtime, stock_attention
from globalprune.artifacts.structure import LayerKind, ModelStructure, ModelTraits


def vllm_notes(traits: ModelTraits, structure: ModelStructure, effect: PlanEffect) -> Iterator[str]:
    """Say what differs from what the plan promises, and what has to be said when starting it."""
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


@dataclass(frozen=True)
class Cycle:
    """Of every `length` layers the last one is of kind `last`, the others of kind `others`."""

    length: int
    others: LayerKind
    last: LayerKind

    def kind_at(self, place: int) -> LayerKind:
        """What the layer at a place, counted from 0, is taken for."""
        return self.others if (place + 1) % self.length else self.last


CYCLES: Final = {
    "smollm3": Cycle(4, "full", "no_rope"),
    "gemma2": Cycle(2, "sliding", "full"),
    "gemma3_text": Cycle(6, "sliding", "full"),
}
_WORDS: Final[dict[LayerKind, str]] = {
    "full": "attention to all that came before",
    "sliding": "a sliding window",
    "no_rope": "no rope",
}


def counted_by_position(traits: ModelTraits) -> Cycle | None:
    """How llama.cpp counts in such a model; None where a layer's place tells it nothing."""
    return CYCLES.get(traits.model_type)


def moved_layer(traits: ModelTraits, effect: PlanEffect) -> str | None:
    """Say which layer llama.cpp would take for another one after the cut, and isn't before it."""
    cycle = counted_by_position(traits)
    if cycle is None or not effect.dropped_layers:
        return None
    kinds = traits.layer_kinds or tuple(map(cycle.kind_at, range(len(effect.layers))))
    for place, layer in enumerate(effect.kept_layers):
        own, taken = kinds[layer.layer_idx], cycle.kind_at(place)
        if own != taken:
            return (
                f"llama.cpp counts the layers of {traits.model_type} by their place (each "
                f"{cycle.length}{_th(cycle.length)} has {_WORDS[cycle.last]}), and layer "
                f"{layer.layer_idx}, which has {_WORDS[own]}, moves to a place where it takes it "
                f"for one with {_WORDS[taken]}; keep all layers (plan without --whole-layers, or "
                "give the dropped ones back a group)."
            )
    return None


def miscounted_whole(traits: ModelTraits) -> str | None:
    """Say so where llama.cpp takes the model for another one though nothing is cut."""
    cycle = counted_by_position(traits)
    kinds = traits.layer_kinds or ()
    if cycle and any(kind != cycle.kind_at(place) for place, kind in enumerate(kinds)):
        return (
            f"llama.cpp takes each {cycle.length}{_th(cycle.length)} layer of a "
            f"{traits.model_type} to have {_WORDS[cycle.last]}; this model says otherwise, so it "
            "isn't loaded there as what it is, cut or whole."
        )
    return None


def _th(number: int) -> str:
    return "nd" if number == 2 else "th"  # noqa: PLR2004


_LAYERS_DIFFER: Final = (
    "the layers that stay differ, which a plain checkpoint can't say; plan with --uniform, or with "
    "--whole-layers."
)
_EXPERTS_DIFFER: Final = (
    "the layers or experts that stay differ, which a plain checkpoint can't say; take as many "
    "channels of every expert, and as many groups of every layer."
)


def obstacles(
    runtime: Runtime, traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield a sentence for everything that keeps the cut model from being loaded there."""
    if runtime == "vllm" and structure.has_experts:
        for reason in _no_plain_checkpoint(traits, structure, effect):
            yield f"vLLM takes the experts of a layer together, from plain checkpoints: {reason}"
    if runtime == "any":
        yield from _no_plain_checkpoint(traits, structure, effect)
        yield from filter(None, [miscounted_whole(traits) or moved_layer(traits, effect)])
    if runtime == "llama.cpp":
        yield from _no_gguf(traits, structure, effect)


def _no_plain_checkpoint(
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
    """Yield of what width experts are, all alike, if transformers can't multiply them as one."""
    for layer in effect.kept_layers:
        width = next(iter(layer.experts), 0)
        if width % EXPERT_ROWS and layer.experts != structure.layers[layer.layer_idx].mlp.experts:
            yield (
                f"its experts have {width} channels, and transformers multiplies those of a layer "
                f"as one only in multiples of {EXPERT_ROWS}."
            )
            return


def _no_gguf(traits: ModelTraits, structure: ModelStructure, effect: PlanEffect) -> Iterator[str]:
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
    lacking = _lacking(shape.form, traits, structure)
    if not lacking:
        return
    if shape.form.by_layer and not _lacking(GGUF_FORMS[traits.model_type].alike, traits, structure):
        yield (
            f"llama.cpp has no form of this {traits.model_type} in which layers differ (its "
            f"{shape.form.architecture} has {lacking}); plan with --uniform, or with "
            "--whole-layers."
        )
    else:
        yield (
            f"llama.cpp has no form of this {traits.model_type}: its {shape.form.architecture} has "
            f"{lacking}."
        )


def _lacking(form: GgufForm, traits: ModelTraits, structure: ModelStructure) -> str:
    """What the form has no place for, in words; empty where it has one for all."""
    return " and ".join(form.lacks(traits, structure))
