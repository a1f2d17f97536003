"""A config of a few small layers that is otherwise a model's own, and a random model of it.

Activation, norms, biases, multipliers, rope and the kinds of layers stay; only counts and widths
become small.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict
from itertools import cycle, islice
from typing import Any, Final

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.configs.native_config import RawConfig, native_config
from globalprune.models.discovery.layer_run import find_layers
from globalprune.models.discovery.sizes import LAYERS, LEFT_OUT, SIZE_KEYS, SmallSizes
from globalprune.models.meta_model import empty_model, new_model

_FEWEST_LAYERS: Final = 4  # one is emptied in part, one dropped, one left whole
_MOST_KINDS: Final = 8  # of layers, by what the config says of each
_ROPE_FACTORS: Final = ("long_factor", "short_factor")  # one for each pair of a head
_WINDOW: Final = 5  # tokens: shorter than the texts that the model is tried on
_NOISE: Final = 0.1  # added to norms and biases, whose initial values are constants
_SCALE: Final = 0.3  # of matrices: activations far from their linear parts
_MATRIX: Final = 2  # dimensions
_MOST_PARAMETERS: Final = 500_000


def small_config(config: RawConfig, sizes: SmallSizes) -> RawConfig:
    """Return a raw config of a few layers of these sizes, with every kind that `config` has.

    Raise `UnsupportedArchitecture` for a config with too many kinds.
    """
    native = native_config(config)
    lists = _per_layer_lists(native)
    chosen = _layers_of_each_kind(lists, native.num_hidden_layers)
    small = {k: v for k, v in config.items() if k not in LEFT_OUT}
    small = copy.deepcopy(small) | asdict(sizes) | {LAYERS: len(chosen)}
    small |= {key: [values[index] for index in chosen] for key, values in lists.items()}
    small |= {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    if getattr(native, "sliding_window", None):
        small["sliding_window"] = _WINDOW
    for rope in _dictionaries(small):
        factors = [key for key in _ROPE_FACTORS if isinstance(rope.get(key), list) and rope[key]]
        part = rope.get("partial_rotary_factor", 1)
        if factors and isinstance(part, int | float):
            rotary = int(sizes.head_dim * part) // 2
            rope |= {key: list(islice(cycle(rope[key]), rotary)) for key in factors}
    return small


def random_model(config: RawConfig, seed: int) -> PreTrainedModel:
    """Build a config's class with seeded random weights, in float64, with plain attention.

    Raise `CheckpointError` for a config that no class takes, and `UnsupportedArchitecture` for one
    that is still large.
    """
    empty = empty_model(config)
    find_layers(empty)  # raises for layers of another kind, however large
    parameters = sum(one.numel() for one in empty.parameters())
    if parameters > _MOST_PARAMETERS:
        raise UnsupportedArchitecture(
            f"a small model of it still has {parameters:,} parameters, so some of its sizes stand "
            "under other keys than those of dense decoders"
        )
    model = new_model(config, attention="eager")
    fill(model, seed)
    model.double()
    return model


def random_ids(vocab_size: int, batch: int = 2, length: int = 9, seed: int = 3) -> torch.Tensor:
    """Return token ids `[batch, length]`; the first three, which may be special, are left out."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, vocab_size, (batch, length), generator=generator)


@torch.no_grad()
def fill(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew: around its initial value where that is a constant."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() >= _MATRIX:
            parameter.copy_(_SCALE * noise)
        else:
            parameter.add_(_NOISE * noise.to(parameter.dtype))


def _per_layer_lists(native: PretrainedConfig) -> dict[str, list[Any]]:
    """Return, by key, every list with an entry for each layer, sizes apart."""
    return {
        key: list(value)
        for key, value in native.to_dict().items()
        if isinstance(value, list)
        and len(value) == native.num_hidden_layers
        and key not in SIZE_KEYS
    }


def _layers_of_each_kind(lists: dict[str, list[Any]], count: int) -> list[int]:
    """Return layers in their order: the first of every kind, and others up to a few."""
    first: dict[str, int] = {}
    for index in range(count):
        first.setdefault(str([values[index] for values in lists.values()]), index)
    if len(first) > _MOST_KINDS:
        raise UnsupportedArchitecture(f"its config has {len(first)} kinds of layers")
    chosen = set(first.values())
    others = (index for index in range(count) if index not in chosen)
    chosen |= set(islice(others, max(0, _FEWEST_LAYERS - len(chosen))))
    enough = sorted(chosen)
    return (enough * math.ceil(_FEWEST_LAYERS / len(enough)))[: max(len(enough), _FEWEST_LAYERS)]


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary inside a config."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _dictionaries(inner)
