"""What a config says besides sizes, and the sizes of the small models that stand for all others."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from globalprune.models.configs.config import RUN_SETTINGS

LAYERS: Final = "num_hidden_layers"


@dataclass(frozen=True)
class SmallSizes:
    """The sizes of a small model, under the keys that configs have for them."""

    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int


# Sizes differ, so that the axes of tensors can be told apart. Some classes want heads that make up
# the hidden size, and get the other two.
SIZES: Final = (SmallSizes(36, 6, 3, 16, 20, 64), SmallSizes(44, 4, 2, 8, 14, 72))
SQUARE_SIZES: Final = (SmallSizes(48, 6, 3, 8, 20, 64), SmallSizes(64, 4, 2, 16, 14, 72))
SIZE_KEYS: Final = (*asdict(SIZES[0]), LAYERS)
# What a run leaves in a config, or what would name tokens that a small vocabulary lacks.
LEFT_OUT: Final = RUN_SETTINGS | {
    "per_layer_config",
    "auto_map",
    "dtype",
    "torch_dtype",
    "architectures",
    "transformers_version",
    "_name_or_path",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
}


def traits(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a raw config.json says apart from sizes and the settings of a run.

    A list with an entry for each layer counts as the set of its entries.
    """
    count = config.get(LAYERS)
    own = {k: v for k, v in config.items() if k not in LEFT_OUT and k not in SIZE_KEYS}
    return {
        key: sorted(set(map(str, value)))
        if isinstance(value, list) and len(value) == count
        else value
        for key, value in own.items()
    }
