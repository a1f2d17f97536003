"""What keeps a runtime from loading a model that was cut by a plan; known before the cut."""

from collections.abc import Iterator

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.plans.gguf_forms import GGUF_FORMS, GgufForm
from globalprune.artifacts.plans.gguf_shape import gguf_shape
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.runtimes import Runtime, stock_attention


def obstacles(
    runtime: Runtime, traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield a sentence for everything that keeps the cut model from being loaded there."""
    if runtime == "vllm" and structure.has_experts and _differ(structure, effect):
        yield "its experts or layers differ, and vLLM takes the experts of a layer together."
    if runtime == "any":
        yield from _no_plain_checkpoint(traits, structure, effect)
    if runtime == "llama.cpp":
        yield from _no_gguf(traits, structure, effect)


def _no_plain_checkpoint(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield why a config of the architecture can't describe what is left."""
    if structure.has_experts and _differ(structure, effect):
        yield "layers or experts that stay differ, which a plain checkpoint can't say."
        return
    if effect.uneven and not structure.has_experts:
        yield (
            "the layers that stay differ, which a plain checkpoint can't say; plan with --uniform, "
            "or with --whole-layers."
        )
        return
    first = effect.kept_layers[0]
    layer = structure.layers[first.layer_idx]
    allowed = stock_attention(traits, layer.attention.groups, layer.query_heads_per_group)
    if len(first.attention) not in allowed:
        heads = len(first.attention) * layer.query_heads_per_group
        yield (
            f"a config of {traits.model_type} takes no {heads} heads at a hidden size of "
            f"{traits.hidden_size}; keep {' or '.join(map(str, allowed))} attention groups."
        )


def _differ(structure: ModelStructure, effect: PlanEffect) -> bool:
    """Whether layers with experts, or the experts of one, are not alike in what stays."""
    heads, dense, experts = set(), set(), set()
    for layer in effect.kept_layers:
        half = structure.layers[layer.layer_idx].mlp
        heads.add(len(layer.attention))
        if half.experts:
            experts |= set(half.widths(layer.mlp))
        else:
            dense.add(len(layer.mlp))
    sizes = (heads, dense, experts)
    return any(len(found) > 1 or 0 in found for found in sizes)


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
