"""Sizes of tensors as products of config keys, so that what holds for a small model holds for all.

A size is fitted over several small models at once: `num_attention_heads*head_dim` is 6 · 16 in one
and 4 · 8 in another.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Final

from globalprune.errors import UnsupportedArchitecture

_MOST_FACTORS: Final = 3
Sizes = Mapping[str, int]  # of one small model, by config key


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
