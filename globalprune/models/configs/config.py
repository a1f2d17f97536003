"""config.json as a dict: read and checked, written, and its sizes looked up."""

import json
import math
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.formatting import first_few, short_repr
from globalprune.errors import CheckpointError
from globalprune.models.sources.hub import CONFIG_FILE
from globalprune.models.sources.plain_files import read_json_object

EXPERT_WIDTHS: Final = "expert_widths"  # under this key a layer says how wide each expert is
_LAYER_LISTS: Final = ("layer_types", "mlp_layer_types", "no_rope_layers")  # an entry a layer
_SIZES: Final = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "max_position_embeddings",
)
_EXPERT_COUNTS: Final = ("num_experts", "num_local_experts")
_FLAGS: Final = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window")
_MAY_BE_ZERO: Final = ("intermediate_size", "moe_intermediate_size", "num_experts")
_MAY_BE_INFINITE: Final = "time_step_limit"  # of state space models
_MAX_SIZE: Final = 2**31 - 1
_MAX_COUNTS: Final = dict.fromkeys(  # of what is built one by one
    ("num_hidden_layers", "num_experts", "num_local_experts", "num_experts_per_tok"), 2**16
)
# Settings of a training or of an answer, which scripts leave there. Without them the defaults of
# the class hold: named outputs, no hidden states and attentions, and the kernels that torch brings.
RUN_SETTINGS: Final = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation",
        "_experts_implementation_internal",
        "attn_implementation",
        "experts_implementation",
        "chunk_size_feed_forward",
        "gradient_checkpointing",
        "id2label",
        "label2id",
        "loss_type",
        "num_labels",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "problem_type",
        "pruned_heads",
        "return_dict",
        "task_specific_params",
        "tie_last_hidden_states",
        "torchscript",
        "use_cache",
        "use_return_dict",
    }
)
_MAX_DEPTH: Final = 32  # of objects within objects


@dataclass(frozen=True)
class ConfigSizes:
    """The sizes in a config.json, each a positive number; `where` opens every message."""

    values: Mapping[str, Any]
    where: str

    def layer(self, index: int) -> Mapping[str, Any]:
        """Return the settings of one layer; their keys are numbers, or such strings as "05"."""
        per_layer = self.values.get("per_layer_config") or {}
        try:
            by_index = {int(key): dict(own) for key, own in per_layer.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.where}: config.json: per_layer_config is no mapping of layer numbers to "
                f"settings ({error}); apply the plan again."
            ) from error
        return by_index.get(index, {})

    def removed_sublayers(self, index: int) -> Collection[str]:
        """Return the sublayers of a layer that an earlier cut removed: `attention`, `mlp`."""
        sublayers = self.layer(index).get("skip", ())
        return sublayers if isinstance(sublayers, list | tuple) else ()

    def get(self, key: str, index: int | None = None) -> int | None:
        """Return a size, that of layer `index` if it has its own, or None.

        Raise `CheckpointError` for what is no positive number.
        """
        own = {} if index is None else self.layer(index)
        value = own.get(key, self.values.get(key))
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(
                f"{self.where}: config.json: {key} is {value!r}, not a positive number; mend it."
            )
        return value

    def require(self, key: str, index: int | None = None) -> int:
        """Return a size as `get` does; raise `CheckpointError` where there is none."""
        value = self.get(key, index)
        if value is None:
            raise CheckpointError(f"{self.where}: config.json has no {key}; download it again.")
        return value


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json; raise `CheckpointError` for a broken one, naming the key at fault."""
    config = read_json_object(path)
    if faults := list(_faults(config)):
        raise CheckpointError(
            f"{path}: {first_few(faults, separator='; ')}; mend it, or download it again."
        )
    return config


def write_config(config: dict[str, Any], original: Path | None, folder: Path) -> None:
    """Write a config.json into `folder`; byte for byte that of `original` if it says the same."""
    if original is not None and read_json_object(original / CONFIG_FILE) == config:
        shutil.copyfile(original / CONFIG_FILE, folder / CONFIG_FILE)
        return
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def _faults(config: dict[str, Any]) -> Iterator[str]:
    """Yield what no model can have been built from."""
    yield from _strange_numbers(config, "", 0)
    for key in _SIZES:
        value = config.get(key)
        if value is None or (value == 0 and key in _MAY_BE_ZERO and value is not False):
            continue
        if isinstance(value, list) and value:
            continue  # a size for each layer, as some families have it
        largest = _MAX_COUNTS.get(key, _MAX_SIZE)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= largest:
            yield f"{key} is {short_repr(value)}, not a positive number that a model can have"
    for key in _FLAGS:
        if config.get(key) is not None and not isinstance(config[key], bool):
            yield f"{key} is {short_repr(config[key])}, neither true nor false"
    chosen = config.get("num_experts_per_tok")
    counts = [config[key] for key in _EXPERT_COUNTS if isinstance(config.get(key), int)]
    if isinstance(chosen, int) and counts and 0 < max(counts) < chosen:
        yield f"num_experts_per_tok is {short_repr(chosen)}, more than its {max(counts)} experts"
    layers = config.get("num_hidden_layers")
    for key in _LAYER_LISTS:
        value = config.get(key)
        if isinstance(value, list) and isinstance(layers, int) and len(value) != layers:
            yield (
                f"{key} has {len(value)} entries, one for each layer, where num_hidden_layers is "
                f"{short_repr(layers)}"
            )


def _strange_numbers(value: Any, where: str, depth: int) -> Iterator[str]:
    """Yield the keys whose number isn't finite, at any depth."""
    if depth > _MAX_DEPTH:
        yield f"{where.partition('.')[0]} holds objects within objects, too deep"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}, no finite number"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == _MAY_BE_INFINITE:
                continue
            yield from _strange_numbers(inner, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strange_numbers(inner, f"{where}[{index}]", depth + 1)
