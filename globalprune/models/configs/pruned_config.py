"""config.json of a cut model.

A model whose layers stay alike keeps its own class. Layers that differ are described one by one,
and the modeling file that travels with the result reads them.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.plans.runtime_compatibility import EXPERT_ROWS
from globalprune.artifacts.structure import LayerStructure, ModelStructure, SublayerStructure
from globalprune.models.configs.config import EXPERT_WIDTHS
from globalprune.models.configs.native_config import (
    MODELING_FILE,
    PREFIX,
    RawConfig,
    is_uneven,
    native_config,
    per_layer_lists,
    pruned_class,
)

_MLP_WIDTH: Final = "intermediate_size"
_EXPERT_WIDTH: Final = "moe_intermediate_size"  # in families whose experts have a key of their own
_WIDTHS: Final = (_MLP_WIDTH, _EXPERT_WIDTH)
_HEADS: Final = "num_attention_heads"
_KEY_VALUE_HEADS: Final = "num_key_value_heads"
_SKIP: Final = "skip"  # under this key a layer names its sublayers that are gone
_SIZES: Final = {
    _KEY_VALUE_HEADS: "attention groups",
    _HEADS: "query heads",
    _MLP_WIDTH: "MLP channels",
    _EXPERT_WIDTH: "channels in every expert",
}
_DENSE_LAYERS: Final = "mlp_only_layers"
_SPARSE_STEP: Final = "decoder_sparse_step"


@dataclass(frozen=True)
class EditedConfig:
    """The config.json of the cut model; `reason` says why it can't be in the native format."""

    config: RawConfig
    uneven: bool
    reason: str | None


def prune_config(config: RawConfig, structure: ModelStructure, effect: PlanEffect) -> EditedConfig:
    """Write what every layer of `structure` still has after `effect` into a copy of `config`.

    `config` may itself describe uneven layers, from an earlier cut.
    """
    if not any(_is_cut(structure.layers[layer.layer_idx], layer) for layer in effect.layers):
        return EditedConfig(copy.deepcopy(config), is_uneven(config), None)
    kept = effect.kept_layers
    sizes = native_config(config)
    before = [structure.layers[layer.layer_idx] for layer in kept]
    layers = [
        _layer_part(layer, effect, config, sizes)
        for layer, effect in zip(before, kept, strict=True)
    ]
    edited = _with_layers(config, [layer.layer_idx for layer in kept])
    if len(before) < len(structure.layers):
        edited |= _dense_layers(before, sizes)
    if not edited.get("head_dim"):  # the class would derive it from the smaller number of heads
        edited["head_dim"] = structure.layers[0].head_dim
    reason = _why_uneven(kept, layers)
    if reason is None:
        alike = {key: value for part in layers for key, value in part.items()}
        native = edited | {k: v for k, v in alike.items() if v != getattr(sizes, k)}
        reason = _misaligned_experts(before, alike, sizes) or _class_refusal(native)
        if reason is None:
            return EditedConfig(native, uneven=False, reason=None)
    return EditedConfig(_uneven_config(edited, layers, sizes), uneven=True, reason=reason)


def with_dtype(edit: EditedConfig, save_dtype: str | None) -> EditedConfig:
    """Return a config that says that the weights are saved in a dtype; None changes nothing."""
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
    """Return one layer's own sizes, and the other settings of it in an earlier config."""
    earlier = {int(k): v for k, v in (config.get("per_layer_config") or {}).items()}
    part: RawConfig = copy.deepcopy(earlier.get(effect.layer_idx, {}))
    part.pop(EXPERT_WIDTHS, None)
    gone = set(part.pop(_SKIP, ())) - {"attention", "mlp"}
    gone |= {sublayer for sublayer in ("attention", "mlp") if not getattr(effect, sublayer)}
    part[_HEADS] = len(effect.attention) * layer.query_heads_per_group
    part[_KEY_VALUE_HEADS] = len(effect.attention)
    part |= _mlp_widths(layer.mlp, effect, sizes)
    if gone:
        part[_SKIP] = sorted(gone)
    return part


def _mlp_widths(
    sublayer: SublayerStructure, effect: LayerEffect, sizes: PretrainedConfig
) -> RawConfig:
    """Return the width of one layer's MLP after the cut, or of each of its experts."""
    key = _width_key(sublayer, sizes)
    if not sublayer.experts:
        return {key: len(effect.mlp)}
    if len(set(effect.experts)) == 1:
        return {key: effect.experts[0]}
    # a width that no expert need have, at which a loader that doesn't know the list must fail
    return {key: 2 if getattr(sizes, key) == 1 else 1, EXPERT_WIDTHS: list(effect.experts)}


def _width_key(sublayer: SublayerStructure, sizes: PretrainedConfig) -> str:
    """Return the key under which a layer with such an MLP finds its width."""
    return _EXPERT_WIDTH if sublayer.experts and hasattr(sizes, _EXPERT_WIDTH) else _MLP_WIDTH


def _with_layers(config: RawConfig, kept: Sequence[int]) -> RawConfig:
    """Return the config of the kept layers, in the native format, with the whole model's sizes."""
    edited = copy.deepcopy(config)
    edited.pop("per_layer_config", None)
    edited.pop(EXPERT_WIDTHS, None)
    edited.pop("auto_map", None)  # code in the base model's folder doesn't travel, nor is needed
    names = edited.get("architectures")
    if isinstance(names, list):
        own = [name.removeprefix(PREFIX) for name in names if isinstance(name, str)]
        edited["architectures"] = own
    else:  # it names no class; transformers goes by model_type
        edited.pop("architectures", None)
    edited["num_hidden_layers"] = len(kept)
    lists = {
        key: [own[i] for i in kept] for key, own in per_layer_lists(native_config(config)).items()
    }
    for key in lists:
        edited.pop(key, None)  # it has an entry for each layer of the whole model
    after = native_config(edited)
    return edited | {
        key: own for key, own in lists.items() if key in config or getattr(after, key, None) != own
    }


def _dense_layers(layers: Sequence[LayerStructure], sizes: PretrainedConfig) -> RawConfig:
    """Say which layers have no experts, in a family that does it by their numbers."""
    if not hasattr(sizes, _DENSE_LAYERS):
        return {}
    dense = [index for index, layer in enumerate(layers) if not layer.mlp.experts]
    return {_SPARSE_STEP: 1, _DENSE_LAYERS: dense}


def _why_uneven(kept: Sequence[LayerEffect], layers: Sequence[RawConfig]) -> str | None:
    """Return the first thing that the native format can't express."""
    first: dict[str, tuple[int, int]] = {}  # by key: the first layer that has it, and its size
    for effect, part in zip(kept, layers, strict=True):
        if gone := part.get(_SKIP):
            return f"layer {effect.layer_idx} keeps no {' and no '.join(gone)}"
        if more := sorted(part.keys() - _SIZES.keys()):
            return f"layer {effect.layer_idx} has its own {', '.join(more)}"
        for key in (key for key in _SIZES if key in part):
            index, size = first.setdefault(key, (effect.layer_idx, part[key]))
            if part[key] != size:
                here = f"layer {effect.layer_idx} has {part[key]}"
                return f"layer {index} has {size} {_SIZES[key]}, {here}"
    return None


def _misaligned_experts(
    layers: Sequence[LayerStructure], alike: RawConfig, sizes: PretrainedConfig
) -> str | None:
    """Return why not, where all experts have the same width, but one that can't be multiplied."""
    for layer in layers:
        key = _width_key(layer.mlp, sizes)
        if layer.mlp.experts and alike[key] % EXPERT_ROWS and alike[key] != getattr(sizes, key):
            return f"its experts are {alike[key]} wide, no multiple of {EXPERT_ROWS}"
    return None


def _class_refusal(native: RawConfig) -> str | None:
    """Return why the architecture's own config class refuses the sizes, if it does."""
    try:
        native_config(native)
    except (StrictDataclassError, ValueError, TypeError) as error:
        name = CONFIG_MAPPING[native["model_type"]].__name__
        return f"{name} refuses the shape: {error.__cause__ or error}"
    return None


def _uneven_config(
    edited: RawConfig, layers: Sequence[RawConfig], sizes: PretrainedConfig
) -> RawConfig:
    """Describe each layer by its differences from the sizes of the whole model."""
    model_type = edited["model_type"]
    causal_lm = pruned_class(edited)
    ours = {
        "AutoConfig": f"{MODELING_FILE}.{PREFIX}{CONFIG_MAPPING[model_type].__name__}",
        "AutoModel": f"{MODELING_FILE}.{PREFIX}{MODEL_MAPPING_NAMES[model_type]}",
        "AutoModelForCausalLM": f"{MODELING_FILE}.{causal_lm}",
    }
    edited = edited | _sizes_of_no_layer(layers, sizes)
    if any(EXPERT_WIDTHS in part for part in layers):
        edited[EXPERT_WIDTHS] = None  # transformers needs a value for layers without their own
    own = {index: _overrides(part, sizes, edited) for index, part in enumerate(layers)}
    digits = len(str(max(index for index, part in own.items() if part)))
    return edited | {
        "architectures": [causal_lm],
        "auto_map": ours,
        "per_layer_config": {str(k).zfill(digits): part for k, part in own.items() if part},
    }


def _sizes_of_no_layer(layers: Sequence[RawConfig], sizes: PretrainedConfig) -> RawConfig:
    """Return sizes of the whole model that no layer has, where some sublayer is gone.

    A loader that doesn't know `per_layer_config` (transformers before 5.15) would otherwise find
    that every stored tensor fits, and fill the gaps with random weights. One size is wrong on
    purpose, so that such a load fails.
    """
    if not any(_SKIP in part for part in layers):
        return {}
    with_mlp = [part for part in layers if "mlp" not in part.get(_SKIP, ())]
    if with_mlp:
        widths = [(key, part[key]) for part in with_mlp for key in _WIDTHS if key in part]
        return {key: max(size for of, size in widths if of == key) + 1 for key, _ in widths}
    heads = getattr(sizes, _HEADS)
    taken = {part[_KEY_VALUE_HEADS] for part in layers}
    free = [count for count in range(1, heads + 1) if heads % count == 0 and count not in taken]
    return {_KEY_VALUE_HEADS: free[-1]} if free else {}


def _overrides(part: RawConfig, sizes: PretrainedConfig, edited: RawConfig) -> RawConfig:
    """Return what differs from the whole model, whose config is to be `edited`.

    A sublayer that is gone gets a size of 1, or 2 where the whole model has 1: transformers forgets
    a size that equals the model's, would find all sizes equal, and ignore the gap.
    """
    whole = {key: edited.get(key, getattr(sizes, key, None)) for key in _SIZES}
    part = dict(part)
    if "attention" in part.get(_SKIP, ()):
        part[_HEADS] = 2 if whole[_HEADS] == 1 else 1
        part[_KEY_VALUE_HEADS] = 1
    if "mlp" in part.get(_SKIP, ()):
        part |= {key: 2 if whole[key] == 1 else 1 for key in _WIDTHS if key in part}
    absent = object()
    return {k: v for k, v in part.items() if v != whole.get(k, getattr(sizes, k, absent))}
