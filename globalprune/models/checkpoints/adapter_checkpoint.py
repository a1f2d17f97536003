"""A LoRA adapter on its base model, read as one checkpoint: every tensor as merging would leave it.

Plain LoRA on linear modules, as gp finetune --keep-adapter and most tools write it; what goes
beyond that is refused by name, and can be merged with peft itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from globalprune.errors import CheckpointError
from globalprune.models.checkpoints.adapter_config import MERGE, read_adapter_config
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.checkpoints.finite import refuse_non_finite
from globalprune.models.sources.hub import ADAPTER_CONFIG
from globalprune.models.sources.plain_files import refuse_special
from globalprune.models.sources.source import ModelSource

_PICKLED: Final = "adapter_model.bin"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_SUFFIX: Final = ".lora_A.weight"
_FLOATS: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_MATRIX: Final = 2  # dimensions


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
        config = read_adapter_config(folder)
        factors = {
            name: (down, up)
            for name, (down, up) in _factors(folder, config.rank).items()
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


def _factors(folder: Path, rank: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The two factors of every adapted weight, by the weight's name."""
    file = folder / ADAPTER_WEIGHTS
    refuse_special(file)
    if not file.is_file() and (folder / _PICKLED).is_file():
        raise CheckpointError(
            f"{folder}: has its factors in a pickle alone ({_PICKLED}), which is not read because "
            "a pickle can run code; save the adapter again with safe_serialization=True."
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
            f"module ({', '.join(others[:3])}); {MERGE}"
        )
    for down, up in pairs.items():
        _refuse_odd_factors(file, down, stored[down], stored[up], rank)
    return {
        down.removeprefix(_PREFIX).replace(_SUFFIX, ".weight"): (stored[down], stored[up])
        for down, up in pairs.items()
    }


def _refuse_odd_factors(
    file: Path, name: str, down: torch.Tensor, up: torch.Tensor, rank: int
) -> None:
    """Raise for a pair that is not two matrices of numbers, of the rank that the config says."""
    shapes = f"{list(down.shape)} and {list(up.shape)}"
    if {down.dim(), up.dim()} != {_MATRIX} or {down.dtype, up.dtype} - {*_FLOATS}:
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
