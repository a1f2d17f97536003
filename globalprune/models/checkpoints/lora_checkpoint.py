"""A LoRA adapter merged into its base model, as a checkpoint.

peft merges only into a loaded model; here one tensor is merged when it is read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from globalprune.artifacts.formatting import short_repr
from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint
from globalprune.models.checkpoints.weight_checks import refuse_non_finite
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.plain_files import read_json_object, refuse_special
from globalprune.models.sources.source import ModelSource

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_PICKLED_WEIGHTS: Final = "adapter_model.bin"
_MERGE: Final = (
    "merge it with peft (merge_and_unload, then save_pretrained) and name the merged folder."
)
_READ_KEYS: Final = frozenset({"peft_type", "bias", "r", "lora_alpha", "use_rslora"})
_HARMLESS_KEYS: Final = frozenset(  # about training, or what the factors' names say already
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
_INIT_KEY: Final = "init_lora_weights"
# Initialisations that leave the base alone; the others (PiSSA, OLoRA, CorDA, LoftQ …) change it.
_PLAIN_INITS: Final = (True, False, "gaussian", "eva", "orthogonal")
_MAX_NUMBER: Final = 1e30  # of rank and alpha: beyond any use, and float32 can compute with it
_PREFIX: Final = "base_model.model."
_SUFFIX: Final = ".lora_A.weight"
_FLOATS: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_MATRIX_DIMENSIONS: Final = 2


@dataclass(frozen=True)
class LoraConfig:
    """The rank of the factors, and what their product is multiplied by."""

    rank: int
    scale: float


@dataclass(frozen=True)
class LoraCheckpoint:
    """The base's tensors, some of which have a low-rank part added when they are read."""

    source: ModelSource
    base: Checkpoint
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]  # by weight: A [r, in], B [out, r]
    scale: float

    @classmethod
    def open(cls, source: ModelSource, base: Checkpoint) -> "LoraCheckpoint":
        """Read the adapter; raise `CheckpointError` if it is not plain LoRA on this base."""
        folder = source.adapter or source.path
        config = read_adapter_config(folder)
        factors = {
            name: (down, up)
            for name, (down, up) in _read_factors(folder, config.rank).items()
            # on the output bias of an emptied sublayer peft lays factors without inputs
            if name in base.tensors or down.shape[1]
        }
        if unknown := sorted(factors.keys() - base.tensors.keys()):
            raise CheckpointError(
                f"{folder}: adapts tensors that {base.source.path} doesn't have "
                f"({', '.join(unknown[:3])}); the adapter belongs to another model."
            )
        for name, (down, up) in factors.items():
            adapted, stored = (up.shape[0], down.shape[1]), base.tensors[name].shape
            if adapted != stored:
                raise CheckpointError(
                    f"{folder}: adapts {name} as {list(adapted)}, and {base.source.path} has "
                    f"{list(stored)}; the adapter belongs to another model, as one made before "
                    "the cut does."
                )
        return cls(source, base, factors, config.scale)

    @property
    def config(self) -> dict[str, Any]:
        """The base's config."""
        return self.base.config

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The base's tensors: merging changes no shape."""
        return self.base.tensors

    @property
    def parameters(self) -> int:
        """The base's parameters."""
        return self.base.parameters

    @property
    def auxiliary_folder(self) -> Path | None:
        """The base's folder."""
        return self.base.auxiliary_folder

    def read(self, name: str) -> torch.Tensor:
        """Return W + (alpha / r) · B·A, computed in float32 and rounded once to W's dtype."""
        weight = self.base.read(name)
        if name not in self.factors:
            return weight
        down, up = self.factors[name]
        merged = weight.float() + self.scale * (up.float() @ down.float())
        return merged.to(weight.dtype)

    def mapped(self) -> "LoraCheckpoint":
        """Return the same on a base that keeps its maps, to read each tensor once."""
        base = self.base
        return replace(
            self, base=base.mapped() if isinstance(base, SafetensorsCheckpoint) else base
        )


def read_adapter_config(folder: Path) -> LoraConfig:
    """Read the adapter's config; raise `CheckpointError` unless it is plain LoRA."""
    path = folder / ADAPTER_CONFIG
    config = read_json_object(path)
    if extras := _extras(config):
        raise CheckpointError(f"{folder}: is no plain LoRA adapter ({', '.join(extras)}); {_MERGE}")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank < _MAX_NUMBER:
        raise CheckpointError(
            f"{path}: r is {short_repr(rank)}, not the rank of an adapter; write the one it was "
            "trained with."
        )
    if (
        not isinstance(alpha, int | float)
        or isinstance(alpha, bool)
        or not abs(alpha) < _MAX_NUMBER
    ):
        raise CheckpointError(
            f"{path}: lora_alpha is {short_repr(alpha)}, not a number; write the one that it was "
            "trained with."
        )
    return LoraConfig(rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _extras(config: dict[str, Any]) -> list[str]:
    """Return the settings for which merging is more than adding a product."""
    known = _READ_KEYS | _HARMLESS_KEYS | {_INIT_KEY}
    extras = sorted(key for key in config.keys() - known if _is_set(config[key]))
    if (init := config.get(_INIT_KEY, True)) not in _PLAIN_INITS:
        extras.append(f"{_INIT_KEY} {short_repr(init)}")
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        extras.append(f"{config.get('peft_type')}, bias {config.get('bias', 'none')}")
    if not isinstance(config.get("use_rslora"), bool | None):
        extras.append(f"use_rslora {short_repr(config['use_rslora'])}")
    return extras


def _is_set(value: Any) -> bool:
    """Whether a setting says anything; configs nest mappings whose values are all empty."""
    if isinstance(value, dict):
        return any(map(_is_set, value.values()))
    return bool(value)


def _read_factors(folder: Path, rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Read the two factors of every adapted weight, by the weight's name."""
    file = folder / ADAPTER_WEIGHTS
    refuse_special(file)
    if not file.is_file() and (folder / _PICKLED_WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder}: has its factors in a pickle alone ({_PICKLED_WEIGHTS}), which is not read "
            "because a pickle can run code; save the adapter again with safe_serialization=True."
        )
    try:
        stored = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{file}: can't be read ({error}); save the adapter again."
        ) from error
    names = [key for key in stored if key.endswith(_SUFFIX)]
    pairs = {key: key.replace("lora_A", "lora_B") for key in names}
    if others := sorted(stored.keys() ^ {*pairs, *pairs.values()}):
        raise CheckpointError(
            f"{folder}: is no plain LoRA adapter, which is a pair of factors for each linear "
            f"module ({', '.join(others[:3])}); {_MERGE}"
        )
    for down, up in pairs.items():
        _check_factors(file, down, stored[down], stored[up], rank)
    return {
        down.removeprefix(_PREFIX).replace(_SUFFIX, ".weight"): (stored[down], stored[up])
        for down, up in pairs.items()
    }


def _check_factors(file: Path, name: str, down: torch.Tensor, up: torch.Tensor, rank: int) -> None:
    """Raise `CheckpointError` unless a pair is two finite matrices of the config's rank."""
    shapes = f"{list(down.shape)} and {list(up.shape)}"
    if {down.dim(), up.dim()} != {_MATRIX_DIMENSIONS} or {down.dtype, up.dtype} - {*_FLOATS}:
        raise CheckpointError(
            f"{file}: {name} and its lora_B are {shapes} ({down.dtype}, {up.dtype}), no two "
            "matrices of floats; save the adapter again."
        )
    if not down.shape[0] == up.shape[1] == rank:
        raise CheckpointError(
            f"{file}: {name} and its lora_B are {shapes}, where {ADAPTER_CONFIG} says r {rank}; "
            "write the rank that it was trained with, by which its scale is divided."
        )
    for factor in (down, up):
        refuse_non_finite(name, factor, str(file))
