"""config.json as a dict: read, written, and its figures with their bounds."""

import json
import math
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError
from globalprune.models.sources.hub import CONFIG_FILE
from globalprune.models.sources.plain_files import read_json_object

_BY_LAYER: Final = ("layer_types", "mlp_layer_types", "no_rope_layers")  # lists, an entry a layer
_COUNTS: Final = (
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
_EXPERTS: Final = ("num_experts", "num_local_experts")
_FLAGS: Final = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window")
_MAY_BE_NONE: Final = ("intermediate_size", "moe_intermediate_size", "num_experts")  # none of those
_UNBOUNDED: Final = "time_step_limit"  # of state space models: from 0 to infinity
_LARGEST: Final = 2**31 - 1  # what no size of a model exceeds
_MOST: Final = dict.fromkeys(  # what is built one by one
    ("num_hidden_layers", "num_experts", "num_local_experts", "num_experts_per_tok"), 2**16
)
# Settings that a training script leaves there. Without them the class's own defaults hold: outputs
# with names, hidden states and attentions left out, the kernels that torch brings.
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
_SHOWN: Final = 5
_DEEPEST: Final = 32  # objects within objects


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json; raise `CheckpointError` for a broken one, naming the key at fault."""
    config = read_json_object(path)
    if faults := list(_faults(config)):
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise CheckpointError(
            f"{path}: {'; '.join(faults[:_SHOWN])}{more}; mend it, or download it again."
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
    for key in _COUNTS:
        value = config.get(key)
        if value is None or (value == 0 and key in _MAY_BE_NONE and value is not False):
            continue
        if isinstance(value, list) and value:
            continue  # a figure for each layer, as some families have it
        most = _MOST.get(key, _LARGEST)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
            yield f"{key} is {_told(value)}, not a positive number that a model can have"
    for key in _FLAGS:
        if config.get(key) is not None and not isinstance(config[key], bool):
            yield f"{key} is {_told(config[key])}, neither true nor false"
    chosen = config.get("num_experts_per_tok")
    counts = [config[key] for key in _EXPERTS if isinstance(config.get(key), int)]
    if isinstance(chosen, int) and counts and 0 < max(counts) < chosen:
        yield f"num_experts_per_tok is {_told(chosen)}, more than its {max(counts)} experts"
    layers = config.get("num_hidden_layers")
    for key in _BY_LAYER:
        value = config.get(key)
        if isinstance(value, list) and isinstance(layers, int) and len(value) != layers:
            yield (
                f"{key} has {len(value)} entries, one for each layer, where num_hidden_layers is "
                f"{_told(layers)}"
            )


def _strange_numbers(value: Any, where: str, depth: int) -> Iterator[str]:
    """Yield the keys whose number is none, however deep they lie."""
    if depth > _DEEPEST:
        yield f"{where.partition('.')[0]} holds objects within objects, too deep"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}, no finite number"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == _UNBOUNDED:
                continue
            yield from _strange_numbers(inner, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strange_numbers(inner, f"{where}[{index}]", depth + 1)


def _told(value: Any) -> str:
    """A value as it stands there, in few characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004


EXPERT_WIDTHS: Final = "expert_widths"  # under this key a layer says how wide each expert is


@dataclass(frozen=True)
class ConfigSizes:
    """Positive numbers by their keys; `where` opens every message."""

    values: Mapping[str, Any]
    where: str

    def layer(self, index: int) -> Mapping[str, Any]:
        """What is said of one layer alone; the keys are numbers, or such strings as "05"."""
        per_layer = self.values.get("per_layer_config") or {}
        try:
            by_index = {int(key): dict(own) for key, own in per_layer.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.where}: config.json: per_layer_config is no mapping of layer numbers to "
                f"settings ({error}); apply the plan again."
            ) from error
        return by_index.get(index, {})

    def emptied(self, index: int) -> Collection[str]:
        """The sublayers of a layer that an earlier cut took whole: `attention`, `mlp`."""
        sublayers = self.layer(index).get("skip", ())
        return sublayers if isinstance(sublayers, list | tuple) else ()

    def find(self, key: str, index: int | None = None) -> int | None:
        """The number, that of layer `index` first, or None where the config is silent."""
        own = {} if index is None else self.layer(index)
        value = own.get(key, self.values.get(key))
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(
                f"{self.where}: config.json: {key} is {value!r}, not a positive number; mend it."
            )
        return value

    def need(self, key: str, index: int | None = None) -> int:
        """The number; raise `CheckpointError` where the config is silent."""
        value = self.find(key, index)
        if value is None:
            raise CheckpointError(f"{self.where}: config.json has no {key}; download it again.")
        return value
