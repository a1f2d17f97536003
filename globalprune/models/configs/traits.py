"""The traits of a model, as its architecture's own config class reads its config.json."""

from globalprune.artifacts.structure import ModelTraits
from globalprune.models.configs.layer_facts import layer_kinds
from globalprune.models.configs.uneven_config import RawConfig, native_config


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
