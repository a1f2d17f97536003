"""What keeps a runtime from loading a model that was cut by a plan; known before the cut."""

from collections.abc import Iterator

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.plans.runtimes import Runtime, UnevenForm, stock_attention, uneven_gguf


def obstacles(
    runtime: Runtime, traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield a sentence for everything that keeps the cut model from being loaded there."""
    if runtime == "any":
        yield from _no_plain_checkpoint(traits, structure, effect)
    if runtime == "llama.cpp" and effect.uneven:
        form = uneven_gguf(traits)
        if form is None:
            yield (
                f"llama.cpp has no form of this {traits.model_type} in which layers differ; plan "
                "with --uniform, or with --whole-layers."
            )
        else:
            yield from _empty_halves(form, effect)


def _no_plain_checkpoint(
    traits: ModelTraits, structure: ModelStructure, effect: PlanEffect
) -> Iterator[str]:
    """Yield why a config of the architecture can't describe what is left."""
    if effect.uneven:
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


def _empty_halves(form: UnevenForm, effect: PlanEffect) -> Iterator[str]:
    """Yield the halves that may not be empty."""
    kept = effect.kept_layers
    wrong: tuple[tuple[str, list[LayerEffect]], ...] = (
        ("MLP", [layer for layer in kept if not layer.mlp]),
        ("attention", [
            layer
            for place, layer in enumerate(kept)
            if not layer.attention and not (form.empty_attention and place)
        ]),
    )  # fmt: skip
    for what, layers in wrong:
        if layers:
            at = IndexRanges.of(layer.layer_idx for layer in layers)
            yield (
                f"layer{'s' * (len(layers) > 1)} {at}: no {what} is left, which llama.cpp can't "
                f"hold (as its {form.name}); keep a group of it, or let the whole layer go."
            )
