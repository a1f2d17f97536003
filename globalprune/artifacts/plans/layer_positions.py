"""Where llama.cpp tells by a layer's place in the file what its attention is: facts as data.

A plain checkpoint says it layer by layer, and transformers and vLLM read that. llama.cpp counts,
and its converter has no word for another order: so a layer that moves up becomes another.
https://github.com/ggml-org/llama.cpp/tree/master/src/models
"""

from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.analyses.model_traits import LayerKind, ModelTraits
from globalprune.artifacts.plans.plan_effect import PlanEffect


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
