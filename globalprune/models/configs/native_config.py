"""A raw config.json as the architecture's own class reads it: its defaults, layers and traits.

A model whose layers differ in size has a config.json that describes them one by one, and a class in
the modeling file that travels with it.
"""

import math
from typing import Any, Final

from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from globalprune.artifacts.plans.runtime_compatibility import DIVIDED_BY_HEADS
from globalprune.artifacts.structure import LayerKind, ModelTraits
from globalprune.models.configs.config import RUN_SETTINGS

MODELING_FILE: Final = "modeling_globalprune"  # without .py: auto_map's name of it
PREFIX: Final = "Pruned"
_INDEX_LISTS: Final = ("mlp_only_layers",)  # layer numbers, not an entry for each layer
_NO_ROPE: Final = "no_rope_layers"  # an entry of 0 is a layer without rotary positions
# A native config is built without these: a dtype that torch lacks would end in an error of its own.
_NO_SIZES: Final = ("per_layer_config", "auto_map", "dtype", "torch_dtype")

_HEADS: Final = 3  # of a config that is tried with a hidden size that they divide, and another
_HEAD_DIM: Final = 8

# Numbers that JSON lacks, as transformers writes them: {"__float__": "Infinity"}.
_FLOAT_TAG: Final = "__float__"
_FLOATS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}

RawConfig = dict[str, Any]  # a config.json, or one layer's part of it


def native_config(config: RawConfig) -> PretrainedConfig:
    """Build the architecture's own config object, with the sizes of the whole model."""
    left_out = RUN_SETTINGS.union(_NO_SIZES)
    plain = {key: value for key, value in config.items() if key not in left_out}
    native: PretrainedConfig = CONFIG_MAPPING[config["model_type"]].from_dict(copy_of(plain))
    return native


def copy_of(value: Any) -> Any:
    """Return a copy of a raw config, or of a part of it, with the numbers that JSON lacks."""
    if isinstance(value, list):
        return [copy_of(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_FLOAT_TAG} and str(value[_FLOAT_TAG]) in _FLOATS:
        return _FLOATS[str(value[_FLOAT_TAG])]
    return {key: copy_of(one) for key, one in value.items()}


def is_uneven(config: RawConfig) -> bool:
    """Whether a config.json describes layers that differ, as globalprune writes it."""
    auto_map = config.get("auto_map")
    named = auto_map.get("AutoModelForCausalLM") if isinstance(auto_map, dict) else None
    return bool(config.get("per_layer_config")) and (named is None or MODELING_FILE in str(named))


def pruned_class(config: RawConfig) -> str:
    """Return the class in the modeling file that builds the model of an uneven config."""
    return PREFIX + MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config["model_type"]]


def traits_of(config: RawConfig) -> ModelTraits:
    """Read a model's traits; what config.json leaves out has the defaults of the class."""
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
        heads_divide_hidden_size=config["model_type"] not in DIVIDED_BY_HEADS
        and _takes_heads(config, _HEADS * _HEAD_DIM)
        and not _takes_heads(config, _HEADS * _HEAD_DIM + 1),
    )


def _takes_heads(config: RawConfig, hidden_size: int) -> bool:
    """Whether the class takes a config with three heads at that hidden size."""
    sizes = {"num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "head_dim": _HEAD_DIM}
    try:
        native_config(config | sizes | {"hidden_size": hidden_size})
    except Exception:  # noqa: BLE001 - a class refuses by whatever its validation raises
        return False
    return True


def layer_kinds(native: PretrainedConfig) -> tuple[LayerKind, ...]:
    """Return the kind of each layer's attention."""
    lists = per_layer_lists(native)
    count = native.num_hidden_layers
    types = lists.get("layer_types", [None] * count)
    rotary = lists.get(_NO_ROPE, [1] * count)
    windowed = getattr(native, "sliding_window", None) is not None
    return tuple(
        "no_rope"
        if not rope
        else "sliding"
        if kind == "sliding_attention" or (kind is None and windowed)
        else "full"
        for kind, rope in zip(types, rotary, strict=True)
    )


def per_layer_lists(native: PretrainedConfig) -> dict[str, list[Any]]:
    """Return, by key, every list of the config that has an entry for each layer."""
    return {
        key: list(value)
        for key, value in native.to_dict().items()
        if isinstance(value, list)
        and "layer" in key
        and key not in _INDEX_LISTS
        and len(value) == native.num_hidden_layers
    }
