"""The sizes of the small models that stand for all others, and sizes as products of config keys.

What holds for a small model holds for all once its sizes are fitted over several at once:
`num_attention_heads*head_dim` is 6 · 16 in one and 4 · 8 in another. What a config says besides
sizes is its traits.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from typing import Any, Final

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.configs.config import RUN_SETTINGS

LAYERS: Final = "num_hidden_layers"
_MOST_FACTORS: Final = 3
Sizes = Mapping[str, int]  # of one small model, by config key


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


def fitted(values: Sequence[int], sizes: Sequence[Sizes], excluded: Collection[str] = ()) -> str:
    """Return the shortest product of config keys that is `values[i]` in model i.

    A value that is the same in all models, and no key, is a number. Raise
    `UnsupportedArchitecture` where nothing fits.
    """
    keys = [key for key in sizes[0] if key not in excluded]
    for product, divisor in _products(keys):
        if all(
            _value(product, divisor, own) == one for own, one in zip(sizes, values, strict=True)
        ):
            text = "*".join(product)
            return f"{text}/{divisor}" if divisor else text
    if len(set(values)) == 1:
        return str(values[0])
    shown = " and ".join(map(str, values))
    raise UnsupportedArchitecture(f"no product of its config's keys is {shown} in small models")


def _products(keys: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Yield products of keys and quotients of them by another key, the shortest first."""
    for count in range(1, _MOST_FACTORS + 1):
        for product in combinations_with_replacement(keys, count):
            yield product, None
        for product in combinations_with_replacement(keys, count):
            yield from ((product, key) for key in keys if key not in product)


def _value(product: Sequence[str], divisor: str | None, sizes: Sizes) -> float:
    value = math.prod(sizes[key] for key in product)
    return value / sizes[divisor] if divisor else value
