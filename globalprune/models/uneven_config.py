"""What a cut changes in a model's config.json: dictionaries in, dictionaries out.

Equal layers stay in the architecture's own format, which every runtime reads. Layers that differ
are described under `per_layer_config`, from which `modeling_globalprune.py` builds them.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from globalprune.artifacts.groups import LayerStructure, ModelStructure
from globalprune.artifacts.plan_effect import LayerEffect, PlanEffect

MODELING_FILE = "modeling_globalprune"  # without .py: how auto_map names it
PREFIX = "Pruned"
SKIP = "skip"  # under this key a layer names its halves that are gone
HEADS = "num_attention_heads"
KEY_VALUE_HEADS = "num_key_value_heads"
WIDTH = "intermediate_size"
_SIZES = {KEY_VALUE_HEADS: "attention groups", HEADS: "query heads", WIDTH: "mlp channels"}
RawConfig = dict[str, Any]  # a config.json, or one layer's part of it


@dataclass(frozen=True)
class ConfigEdit:
    """The config.json of the cut model; `reason` says why it can't be in the native format."""

    config: RawConfig
    uneven: bool
    reason: str | None


def write_layer_shapes(
    config: RawConfig, structure: ModelStructure, effect: PlanEffect
) -> ConfigEdit:
    """Write into a copy of `config` what every layer of `structure` still has after `effect`.

    `config` may itself describe uneven layers, from an earlier cut.
    """
    if not any(_is_cut(structure.layers[layer.layer_idx], layer) for layer in effect.layers):
        return ConfigEdit(copy.deepcopy(config), bool(config.get("per_layer_config")), None)
    kept = effect.kept_layers
    sizes = _native_config(config)
    layers = [_layer_part(structure.layers[layer.layer_idx], layer, config) for layer in kept]
    edited = _with_layers(config, [layer.layer_idx for layer in kept])
    if not edited.get("head_dim"):  # else guessed anew from the smaller number of heads
        edited["head_dim"] = structure.layers[0].head_dim
    reason = _why_uneven(kept, layers)
    if reason is None:
        native = edited | {k: v for k, v in layers[0].items() if v != getattr(sizes, k)}
        reason = _refusal(native)
        if reason is None:
            return ConfigEdit(native, uneven=False, reason=None)
    return ConfigEdit(_uneven(edited, layers, sizes), uneven=True, reason=reason)


def _is_cut(layer: LayerStructure, effect: LayerEffect) -> bool:
    """Whether the layer lost a group, or is lost."""
    whole = len(effect.attention) == layer.attention.groups and len(effect.mlp) == layer.mlp.groups
    return effect.dropped or not whole


def _layer_part(layer: LayerStructure, effect: LayerEffect, config: RawConfig) -> RawConfig:
    """Collect one layer's own sizes, and whatever else an earlier config says of it alone."""
    earlier = {int(k): v for k, v in (config.get("per_layer_config") or {}).items()}
    part: RawConfig = copy.deepcopy(earlier.get(effect.layer_idx, {}))
    gone = set(part.pop(SKIP, ())) - {"attention", "mlp"}
    gone |= {half for half in ("attention", "mlp") if not getattr(effect, half)}
    part[HEADS] = len(effect.attention) * layer.query_heads_per_group
    part[KEY_VALUE_HEADS] = len(effect.attention)
    part[WIDTH] = len(effect.mlp)
    if gone:
        part[SKIP] = sorted(gone)
    return part


def _with_layers(config: RawConfig, kept: Sequence[int]) -> RawConfig:
    """Leave only the kept layers, in the native format and with the sizes of the whole model."""
    edited = copy.deepcopy(config)
    edited.pop("per_layer_config", None)
    ours = {k for k, v in edited.get("auto_map", {}).items() if str(v).startswith(MODELING_FILE)}
    edited["auto_map"] = {k: v for k, v in edited.get("auto_map", {}).items() if k not in ours}
    if not edited["auto_map"]:
        del edited["auto_map"]
    if names := edited.get("architectures"):
        edited["architectures"] = [name.removeprefix(PREFIX) for name in names]
    before = config["num_hidden_layers"]
    edited["num_hidden_layers"] = len(kept)
    for key, value in edited.items():
        if "layer" in key and isinstance(value, list) and len(value) == before:
            edited[key] = [value[index] for index in kept]
    # where the kinds of the layers follow from their numbers, as in Qwen, they must be written down
    kinds = getattr(_native_config(config), "layer_types", None)
    if kinds and (cut := [kinds[index] for index in kept]) != _native_config(edited).layer_types:
        edited["layer_types"] = cut
    return edited


def _why_uneven(kept: Sequence[LayerEffect], layers: Sequence[RawConfig]) -> str | None:
    """Name the first thing that the native format has no word for."""
    for effect, part in zip(kept, layers, strict=True):
        if gone := part.get(SKIP):
            return f"layer {effect.layer_idx} keeps no {' and no '.join(gone)}"
        if more := sorted(part.keys() - _SIZES.keys()):
            return f"layer {effect.layer_idx} has its own {', '.join(more)}"
        for key, name in _SIZES.items():
            if part[key] != layers[0][key]:
                first = f"layer {kept[0].layer_idx} has {layers[0][key]} {name}"
                return f"{first}, layer {effect.layer_idx} has {part[key]}"
    return None


def _refusal(native: RawConfig) -> str | None:
    """Ask the architecture's own config class whether it takes the shape."""
    try:
        _native_config(native)
    except (StrictDataclassError, ValueError, TypeError) as error:
        name = CONFIG_MAPPING[native["model_type"]].__name__
        return f"{name} refuses the shape: {error.__cause__ or error}"
    return None


def _native_config(config: RawConfig) -> PretrainedConfig:
    """Build the architecture's own config object, with the sizes of the whole model."""
    plain = {k: v for k, v in config.items() if k not in ("per_layer_config", "auto_map")}
    native: PretrainedConfig = CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(plain))
    return native


def _uneven(edited: RawConfig, layers: Sequence[RawConfig], sizes: PretrainedConfig) -> RawConfig:
    """Describe each layer by what differs from the sizes of the whole model."""
    model_type = edited["model_type"]
    causal_lm = PREFIX + MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    ours = {
        "AutoConfig": f"{MODELING_FILE}.{PREFIX}{CONFIG_MAPPING[model_type].__name__}",
        "AutoModel": f"{MODELING_FILE}.{PREFIX}{MODEL_MAPPING_NAMES[model_type]}",
        "AutoModelForCausalLM": f"{MODELING_FILE}.{causal_lm}",
    }
    own = {index: _overrides(part, sizes) for index, part in enumerate(layers)}
    digits = len(str(max(index for index, part in own.items() if part)))
    return edited | {
        "architectures": [causal_lm],
        "auto_map": edited.get("auto_map", {}) | ours,
        "per_layer_config": {str(k).zfill(digits): part for k, part in own.items() if part},
    }


def _overrides(part: RawConfig, sizes: PretrainedConfig) -> RawConfig:
    """Keep what differs from the whole model.

    A half that is gone gets a size of 1, or 2 where the whole model has 1: a size that equals the
    model's would be forgotten by transformers, and a load without our file would then find all
    sizes equal and fill the gap with random weights.
    """
    part = dict(part)
    if "attention" in part.get(SKIP, ()):
        part[HEADS] = 2 if getattr(sizes, HEADS) == 1 else 1
        part[KEY_VALUE_HEADS] = 1
    if "mlp" in part.get(SKIP, ()):
        part[WIDTH] = 2 if getattr(sizes, WIDTH) == 1 else 1
    absent = object()
    return {k: v for k, v in part.items() if v != getattr(sizes, k, absent)}
