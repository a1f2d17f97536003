"""config.json of a cut model, and the model class that can load it.

A model whose layers stay alike keeps its own class. Layers that differ are recorded one by one, and
the modeling file that travels with the result reads them.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.plans.runtimes import EXPERT_ROWS
from globalprune.artifacts.structure import (
    LayerKind,
    LayerStructure,
    ModelStructure,
    ModelTraits,
    SublayerStructure,
)
from globalprune.models.configs.config import EXPERT_WIDTHS, RUN_SETTINGS

MLP_WIDTH_KEY: Final = "intermediate_size"
EXPERT_WIDTH_KEY: Final = (
    "moe_intermediate_size"  # of experts, in families that have it beside WIDTH
)
_DENSE, _EVERY = "mlp_only_layers", "decoder_sparse_step"


def _width_key(sublayer: SublayerStructure, sizes: PretrainedConfig) -> str:
    """Under which key a layer with such an MLP looks for its width."""
    return (
        EXPERT_WIDTH_KEY if sublayer.experts and hasattr(sizes, EXPERT_WIDTH_KEY) else MLP_WIDTH_KEY
    )


def _mlp_widths(
    sublayer: SublayerStructure, effect: LayerEffect, sizes: PretrainedConfig
) -> dict[str, Any]:
    """How wide one layer is after the cut, or each of its experts."""
    key = _width_key(sublayer, sizes)
    if not sublayer.experts:
        return {key: len(effect.mlp)}
    if len(set(effect.experts)) == 1:
        return {key: effect.experts[0]}
    # no width of all: one that a loader which doesn't know of the list must stumble over
    return {key: 2 if getattr(sizes, key) == 1 else 1, EXPERT_WIDTHS: list(effect.experts)}


def _dense_layers(layers: Sequence[LayerStructure], sizes: PretrainedConfig) -> dict[str, Any]:
    """Which layers have experts, in a family that says it by their numbers."""
    if not hasattr(sizes, _DENSE):
        return {}
    return {_EVERY: 1, _DENSE: [i for i, layer in enumerate(layers) if not layer.mlp.experts]}


def _misaligned_experts(
    layers: Sequence[LayerStructure], alike: dict[str, Any], sizes: PretrainedConfig
) -> str | None:
    """Say so where all experts are alike, but of a width that transformers can't multiply."""
    for layer in layers:
        key = _width_key(layer.mlp, sizes)
        if layer.mlp.experts and alike[key] % EXPERT_ROWS and alike[key] != getattr(sizes, key):
            return f"its experts are {alike[key]} wide, no multiple of {EXPERT_ROWS}"
    return None


_INDEX_LISTS: Final = ("mlp_only_layers",)  # numbers of layers, not an entry for each
_NO_ROPE: Final = "no_rope_layers"  # an entry of 0 is a layer that turns nothing


def per_layer_lists(native: PretrainedConfig) -> dict[str, list[Any]]:
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
    facts = per_layer_lists(native)
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


MODELING_FILE = "modeling_globalprune"  # without .py: how auto_map names it
PREFIX = "Pruned"
SKIP_KEY = "skip"  # under this key a layer names its sublayers that are gone
HEADS_KEY = "num_attention_heads"
KEY_VALUE_HEADS_KEY = "num_key_value_heads"
_SIZES = {
    KEY_VALUE_HEADS_KEY: "attention groups",
    HEADS_KEY: "query heads",
    MLP_WIDTH_KEY: "mlp channels",
    EXPERT_WIDTH_KEY: "channels in every expert",
}
_WIDTHS = (MLP_WIDTH_KEY, EXPERT_WIDTH_KEY)
RawConfig = dict[str, Any]  # a config.json, or one layer's part of it


@dataclass(frozen=True)
class EditedConfig:
    """The config.json of the cut model; `reason` says why it can't be in the native format."""

    config: RawConfig
    uneven: bool
    reason: str | None


def prune_config(config: RawConfig, structure: ModelStructure, effect: PlanEffect) -> EditedConfig:
    """Write into a copy of `config` what every layer of `structure` still has after `effect`.

    `config` may itself describe uneven layers, from an earlier cut.
    """
    if not any(_is_cut(structure.layers[layer.layer_idx], layer) for layer in effect.layers):
        return EditedConfig(copy.deepcopy(config), is_uneven(config), None)
    kept = effect.kept_layers
    sizes = native_config(config)
    had = [structure.layers[layer.layer_idx] for layer in kept]
    layers = [
        _layer_part(layer, effect, config, sizes) for layer, effect in zip(had, kept, strict=True)
    ]
    edited = _with_layers(config, [layer.layer_idx for layer in kept])
    if len(had) < len(structure.layers):
        edited |= _dense_layers(had, sizes)
    if not edited.get("head_dim"):  # else guessed anew from the smaller number of heads
        edited["head_dim"] = structure.layers[0].head_dim
    reason = _why_uneven(kept, layers)
    if reason is None:
        alike = {key: value for part in layers for key, value in part.items()}
        native = edited | {k: v for k, v in alike.items() if v != getattr(sizes, k)}
        reason = _misaligned_experts(had, alike, sizes) or _refusal(native)
        if reason is None:
            return EditedConfig(native, uneven=False, reason=None)
    return EditedConfig(_uneven(edited, layers, sizes), uneven=True, reason=reason)


def with_dtype(edit: EditedConfig, save_dtype: str | None) -> EditedConfig:
    """The same config, saying that the weights are saved so; None changes nothing."""
    if save_dtype is None:
        return edit
    older = {"torch_dtype": save_dtype} if "torch_dtype" in edit.config else {}
    return replace(edit, config={**edit.config, "dtype": save_dtype, **older})


def _is_cut(layer: LayerStructure, effect: LayerEffect) -> bool:
    """Whether the layer lost a group, or is lost."""
    whole = len(effect.attention) == layer.attention.groups and len(effect.mlp) == layer.mlp.groups
    return effect.dropped or not whole


def _layer_part(
    layer: LayerStructure, effect: LayerEffect, config: RawConfig, sizes: PretrainedConfig
) -> RawConfig:
    """Collect one layer's own sizes, and whatever else an earlier config says of it alone."""
    earlier = {int(k): v for k, v in (config.get("per_layer_config") or {}).items()}
    part: RawConfig = copy.deepcopy(earlier.get(effect.layer_idx, {}))
    part.pop(EXPERT_WIDTHS, None)
    gone = set(part.pop(SKIP_KEY, ())) - {"attention", "mlp"}
    gone |= {sublayer for sublayer in ("attention", "mlp") if not getattr(effect, sublayer)}
    part[HEADS_KEY] = len(effect.attention) * layer.query_heads_per_group
    part[KEY_VALUE_HEADS_KEY] = len(effect.attention)
    part |= _mlp_widths(layer.mlp, effect, sizes)
    if gone:
        part[SKIP_KEY] = sorted(gone)
    return part


def _with_layers(config: RawConfig, kept: Sequence[int]) -> RawConfig:
    """Leave only the kept layers, in the native format and with the sizes of the whole model."""
    edited = copy.deepcopy(config)
    edited.pop("per_layer_config", None)
    edited.pop(EXPERT_WIDTHS, None)
    edited.pop("auto_map", None)  # code in the base model's folder doesn't travel, nor is needed
    names = edited.get("architectures")
    if isinstance(names, list):
        own = [name.removeprefix(PREFIX) for name in names if isinstance(name, str)]
        edited["architectures"] = own
    else:  # names no class, and transformers has model_type to go by
        edited.pop("architectures", None)
    edited["num_hidden_layers"] = len(kept)
    facts = {
        key: [own[i] for i in kept] for key, own in per_layer_lists(native_config(config)).items()
    }
    for key in facts:
        edited.pop(key, None)  # it has an entry for each layer of the whole model
    after = native_config(edited)
    return edited | {
        key: own for key, own in facts.items() if key in config or getattr(after, key, None) != own
    }


def _why_uneven(kept: Sequence[LayerEffect], layers: Sequence[RawConfig]) -> str | None:
    """Name the first thing that the native format has no word for."""
    first: dict[str, tuple[int, int]] = {}  # by key: the layer that has it first, and what it says
    for effect, part in zip(kept, layers, strict=True):
        if gone := part.get(SKIP_KEY):
            return f"layer {effect.layer_idx} keeps no {' and no '.join(gone)}"
        if more := sorted(part.keys() - _SIZES.keys()):
            return f"layer {effect.layer_idx} has its own {', '.join(more)}"
        for key in (key for key in _SIZES if key in part):
            index, size = first.setdefault(key, (effect.layer_idx, part[key]))
            if part[key] != size:
                here = f"layer {effect.layer_idx} has {part[key]}"
                return f"layer {index} has {size} {_SIZES[key]}, {here}"
    return None


def _refusal(native: RawConfig) -> str | None:
    """Ask the architecture's own config class whether it takes the shape."""
    try:
        native_config(native)
    except (StrictDataclassError, ValueError, TypeError) as error:
        name = CONFIG_MAPPING[native["model_type"]].__name__
        return f"{name} refuses the shape: {error.__cause__ or error}"
    return None


# what a class is built without: a precision that torch lacks would end in one of its own errors
_OF_NO_SIZE = ("per_layer_config", "auto_map", "dtype", "torch_dtype")


def native_config(config: RawConfig) -> PretrainedConfig:
    """Build the architecture's own config object, with the sizes of the whole model."""
    left_out = RUN_SETTINGS.union(_OF_NO_SIZE)
    plain = {key: value for key, value in config.items() if key not in left_out}
    native: PretrainedConfig = CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(plain))
    return native


def _uneven(edited: RawConfig, layers: Sequence[RawConfig], sizes: PretrainedConfig) -> RawConfig:
    """Describe each layer by what differs from the sizes of the whole model."""
    model_type = edited["model_type"]
    causal_lm = pruned_class(edited)
    ours = {
        "AutoConfig": f"{MODELING_FILE}.{PREFIX}{CONFIG_MAPPING[model_type].__name__}",
        "AutoModel": f"{MODELING_FILE}.{PREFIX}{MODEL_MAPPING_NAMES[model_type]}",
        "AutoModelForCausalLM": f"{MODELING_FILE}.{causal_lm}",
    }
    edited = edited | _sizes_of_no_layer(layers, sizes)
    if any(EXPERT_WIDTHS in part for part in layers):
        edited[EXPERT_WIDTHS] = None  # transformers wants a word for the layers that say nothing
    own = {index: _overrides(part, sizes, edited) for index, part in enumerate(layers)}
    digits = len(str(max(index for index, part in own.items() if part)))
    return edited | {
        "architectures": [causal_lm],
        "auto_map": ours,
        "per_layer_config": {str(k).zfill(digits): part for k, part in own.items() if part},
    }


def _sizes_of_no_layer(layers: Sequence[RawConfig], sizes: PretrainedConfig) -> RawConfig:
    """Sizes of the whole model that no layer has, where some sublayer is gone.

    A loader that knows nothing of `per_layer_config` (transformers before 5.15) would otherwise
    find every stored tensor fitting, and fill the gaps with random weights. So one size is wrong
    on purpose, and such a load stops.
    """
    if not any(SKIP_KEY in part for part in layers):
        return {}
    with_mlp = [part for part in layers if "mlp" not in part.get(SKIP_KEY, ())]
    if with_mlp:
        widths = [(key, part[key]) for part in with_mlp for key in _WIDTHS if key in part]
        return {key: max(size for of, size in widths if of == key) + 1 for key, _ in widths}
    heads = getattr(sizes, HEADS_KEY)
    taken = {part[KEY_VALUE_HEADS_KEY] for part in layers}
    free = [count for count in range(1, heads + 1) if heads % count == 0 and count not in taken]
    return {KEY_VALUE_HEADS_KEY: free[-1]} if free else {}


def _overrides(part: RawConfig, sizes: PretrainedConfig, edited: RawConfig) -> RawConfig:
    """Keep what differs from the whole model, whose config is to be `edited`.

    A sublayer that is gone gets a size of 1, or 2 where the whole model has 1: transformers forgets
    a size that equals the model's, and would then find all sizes equal and ignore the gap.
    """
    whole = {key: edited.get(key, getattr(sizes, key, None)) for key in _SIZES}
    part = dict(part)
    if "attention" in part.get(SKIP_KEY, ()):
        part[HEADS_KEY] = 2 if whole[HEADS_KEY] == 1 else 1
        part[KEY_VALUE_HEADS_KEY] = 1
    if "mlp" in part.get(SKIP_KEY, ()):
        part |= {key: 2 if whole[key] == 1 else 1 for key in _WIDTHS if key in part}
    absent = object()
    return {k: v for k, v in part.items() if v != whole.get(k, getattr(sizes, k, absent))}


def is_uneven(config: RawConfig) -> bool:
    """Whether a config.json describes layers that differ, as globalprune writes it."""
    auto_map = config.get("auto_map")
    named = auto_map.get("AutoModelForCausalLM") if isinstance(auto_map, dict) else None
    return bool(config.get("per_layer_config")) and (named is None or MODELING_FILE in str(named))


def pruned_class(config: RawConfig) -> str:
    """The class in the modeling file that builds such a config's model."""
    return PREFIX + MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config["model_type"]]


def traits_of(config: RawConfig) -> ModelTraits:
    """Read them from a raw config.json; what it leaves out is what the class says."""
    native = native_config(config)
    rope = native.rope_parameters or {}
    types = {one.get("rope_type") for one in rope.values() if isinstance(one, dict)}
    kinds = getattr(native, "layer_types", None)
    window = getattr(native, "sliding_window", None)
    return ModelTraits(
        model_type=config["model_type"],
        hidden_size=native.hidden_size,
        tied_embeddings=bool(native.tie_word_embeddings),
        sliding_window="sliding_attention" in kinds if kinds else window is not None,
        rope_type=rope.get("rope_type") or next(iter(types - {"default"}), "default"),
        layer_kinds=layer_kinds(native),
        activation=getattr(native, "hidden_act", None) or native.hidden_activation,
    )
