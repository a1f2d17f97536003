"""adapter_config.json of a LoRA adapter: what is added to the base's weights, or a refusal by name.

What is not known here to leave merging alone is refused: peft has many variants of LoRA, and new
ones in every release.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from globalprune.errors import CheckpointError
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.plain_files import read_json_object

MERGE: Final = (
    "merge it with peft (merge_and_unload, then save_pretrained) and name the merged folder."
)
_READ: Final = frozenset({"peft_type", "bias", "r", "lora_alpha", "use_rslora"})
_NO_MATTER: Final = frozenset(  # keys of how it was trained, or that the factors' names tell
    {
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
# how factors began; the others (PiSSA, OLoRA, CorDA, LoftQ …) change the base's weights too
_BEGINNINGS: Final = (True, False, "gaussian", "eva", "orthogonal")
_INITIAL: Final = "init_lora_weights"
_HUGE: Final = 1e30  # of either number: far beyond any use, and within what float32 computes with


@dataclass(frozen=True)
class LoraConfig:
    """By what the product of two factors of that rank is multiplied."""

    rank: int
    scale: float


def read_adapter_config(folder: Path) -> LoraConfig:
    """Read it; raise `CheckpointError` for what is no plain LoRA, and for figures that are none."""
    path = folder / ADAPTER_CONFIG
    config = read_json_object(path)
    if found := _beyond(config):
        raise CheckpointError(f"{folder}: is no plain LoRA adapter ({', '.join(found)}); {MERGE}")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank < _HUGE:
        raise CheckpointError(
            f"{path}: r is {_told(rank)}, not the rank of an adapter; write the one it was trained "
            "with."
        )
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < _HUGE:
        raise CheckpointError(
            f"{path}: lora_alpha is {_told(alpha)}, not a number; write the one that it was "
            "trained with."
        )
    return LoraConfig(rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _beyond(config: dict[str, Any]) -> list[str]:
    """What makes merging more than adding a product, by its keys."""
    known = _READ | _NO_MATTER | {_INITIAL}
    found = sorted(key for key in config.keys() - known if _says_something(config[key]))
    if (initial := config.get(_INITIAL, True)) not in _BEGINNINGS:
        found.append(f"{_INITIAL} {_told(initial)}")
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        found.append(f"{config.get('peft_type')}, bias {config.get('bias', 'none')}")
    if not isinstance(config.get("use_rslora"), bool | None):
        found.append(f"use_rslora {_told(config['use_rslora'])}")
    return found


def _says_something(value: Any) -> bool:
    """Whether a key is more than there; configs nest ones whose values are all empty."""
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return bool(value)


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004
