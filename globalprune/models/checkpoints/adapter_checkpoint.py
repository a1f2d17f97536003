"""A LoRA adapter on its base model, read as one checkpoint: every tensor as merging would leave it.

Plain LoRA on linear modules, as gp finetune --keep-adapter and most tools write it; what goes
beyond that is refused by name, and can be merged with peft itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.sources.source import ADAPTER_CONFIG, ModelSource

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_SUFFIX: Final = ".lora_A.weight"
_MERGE: Final = (
    "merge it with peft (merge_and_unload, then save_pretrained) and name the merged folder."
)
_BEYOND: Final = (  # keys of adapter_config.json that change what merging means
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "trainable_token_indices",
    "lora_bias",
    "fan_in_fan_out",
)


@dataclass(frozen=True)
class AdapterCheckpoint:
    """The base's tensors, some of which have a low-rank part added when they are read."""

    source: ModelSource
    base: Checkpoint
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]  # of a weight: A [r, in], B [out, r]
    scale: float

    @classmethod
    def open(cls, source: ModelSource, base: Checkpoint) -> "AdapterCheckpoint":
        """Read the adapter; raise `CheckpointError` if it is not plain LoRA on this base."""
        folder = source.adapter or source.path
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        _refuse_beyond(folder, config)
        factors = {
            name: (down, up)
            for name, (down, up) in _factors(folder).items()
            # on what is left of an emptied half, its output bias, peft lays factors without inputs
            if name in base.tensors or down.shape[1]
        }
        if strangers := sorted(factors.keys() - base.tensors.keys()):
            raise CheckpointError(
                f"{folder}: adapts tensors that {base.source.path} doesn't have "
                f"({', '.join(strangers[:3])}); the adapter belongs to another model."
            )
        for name, (down, up) in factors.items():
            adapted, stored = (up.shape[0], down.shape[1]), base.tensors[name].shape
            if adapted != stored:
                raise CheckpointError(
                    f"{folder}: adapts {name} as {list(adapted)}, and {base.source.path} has "
                    f"{list(stored)}; the adapter belongs to another model, as one made before "
                    "the cut does."
                )
        return cls(source, base, factors, config["lora_alpha"] / config["r"])

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
    def companions(self) -> Path | None:
        """The base's."""
        return self.base.companions

    def read(self, name: str) -> torch.Tensor:
        """W + (alpha / r) · B·A in float32, rounded once to the base's dtype."""
        weight = self.base.read(name)
        if name not in self.factors:
            return weight
        down, up = self.factors[name]
        merged = weight.float() + self.scale * (up.float() @ down.float())
        return merged.to(weight.dtype)


def _refuse_beyond(folder: Path, config: dict[str, Any]) -> None:
    """Raise for an adapter whose merging is more than adding a product."""
    found = [key for key in _BEYOND if config.get(key)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        found.append(f"{config.get('peft_type')}, bias {config.get('bias', 'none')}")
    if found:
        raise CheckpointError(f"{folder}: is no plain LoRA adapter ({', '.join(found)}); {_MERGE}")


def _factors(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The two factors of every adapted weight, by the weight's name."""
    try:
        stored = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder / ADAPTER_WEIGHTS}: can't be read ({error}); save the adapter again."
        ) from error
    names = [key for key in stored if key.endswith(_SUFFIX)]
    pairs = {key: key.replace("lora_A", "lora_B") for key in names}
    if others := sorted(stored.keys() ^ {*pairs, *pairs.values()}):
        raise CheckpointError(
            f"{folder}: is no plain LoRA adapter, which is a pair of factors for each linear "
            f"module ({', '.join(others[:3])}); {_MERGE}"
        )
    return {
        down.removeprefix(_PREFIX).replace(_SUFFIX, ".weight"): (stored[down], stored[up])
        for down, up in pairs.items()
    }
