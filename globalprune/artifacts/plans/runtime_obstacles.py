"""What keeps a runtime from loading a model that was cut by a plan; known before the cut."""

from collections.abc import Iterator
from typing import Final

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.plans.gguf_forms import GGUF_FORMS, GgufForm
from globalprune.artifacts.plans.gguf_shape import gguf_shape
from globalprune.artifacts.plans.layer_positions import miscounted_whole, moved_layer
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.runtimes import EXPERT_ROWS, Runtime, stock_attention

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
