"""Facts of single layers that a config states by their numbers: rope or none, a window or none.

A family's class works them out where config.json is silent (`no_rope_layer_interval`,
`max_window_layers`, `sliding_window_pattern`). When layers go, those that stay keep theirs: so what
the class made of the whole model is written down.
"""

from typing import Any, Final

from transformers import PretrainedConfig

from globalprune.artifacts.structure import LayerKind

_INDEX_LISTS: Final = ("mlp_only_layers",)  # numbers of layers, not an entry for each
_NO_ROPE: Final = "no_rope_layers"  # an entry of 0 is a layer that turns nothing


def facts_by_layer(native: PretrainedConfig) -> dict[str, list[Any]]:
    """Every list of the config that has an entry for each layer, by its key."""
    return {
        key: list(value)
        for key, value in native.to_dict().items()
        if isinstance(value, list)
        and "layer" in key
        and key not in _INDEX_LISTS
        and len(value) == native.num_hidden_layers
    }


def layer_kinds(native: PretrainedConfig) -> tuple[LayerKind, ...]:
    """What each layer's attention is."""
    facts = facts_by_layer(native)
    count = native.num_hidden_layers
    types = facts.get("layer_types", [None] * count)
    turned = facts.get(_NO_ROPE, [1] * count)
    windowed = getattr(native, "sliding_window", None) is not None
    return tuple(
        "no_rope"
        if not rope
        else "sliding"
        if kind == "sliding_attention" or (kind is None and windowed)
        else "full"
        for kind, rope in zip(types, turned, strict=True)
    )
