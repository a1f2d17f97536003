"""The model as llama.cpp sees it: architecture, layer shapes, rotary positions."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.disk import refuse_inside_model
from globalprune.artifacts.plans.gguf_layout import GgufShape, gguf_shape
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.runtime_compatibility import obstacles
from globalprune.artifacts.structure import ModelStructure, ModelTraits
from globalprune.errors import UsageError
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.weight_checks import EMBEDDING
from globalprune.models.configs.native_config import native_config, traits_of
from globalprune.models.meta_model import refuse_class_mismatch
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model

ROPE_FACTORS_TENSOR: Final = "rope_freqs.weight"
# Settings of rotary positions without a key in GGUF, and the values that llama.cpp takes for them.
_YARN_DEFAULTS: Final[dict[str, tuple[float | bool | None, ...]]] = {
    "attention_factor": (None,),
    "mscale": (None,),
    "mscale_all_dim": (None,),
    "beta_fast": (None, 32),
    "beta_slow": (None, 1),
    "truncate": (None, True),
}


@dataclass(frozen=True)
class ExportModel:
    """A checkpoint, and the shapes that its layers get in the file."""

    checkpoint: Checkpoint
    adapter: ModelAdapter
    structure: ModelStructure
    traits: ModelTraits
    shape: GgufShape

    @property
    def rows(self) -> int:
        """The rows of the embedding."""
        return self.checkpoint.tensors[EMBEDDING].shape[0]

    @property
    def stored_dtype(self) -> str:
        """The dtype of the checkpoint's embedding."""
        return self.checkpoint.tensors[EMBEDDING].dtype

    @cached_property
    def config(self) -> Any:
        """The architecture's own config object, with its defaults."""
        return native_config(self.checkpoint.config)

    @property
    def rope(self) -> dict[str, Any]:
        """The settings of its rotary positions."""
        rope: dict[str, Any] = self.config.rope_parameters
        return rope


def open_export_model(model: str, out: Path) -> ExportModel:
    """Open a model; raise `UsageError` for one that llama.cpp can't express."""
    source = resolve_model(model)
    if source.is_gguf:
        raise UsageError(f"{model}: is a GGUF file already; name the folder that it was made from.")
    refuse_inside_model(out, source.path)
    checkpoint = open_checkpoint(source)
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    refuse_class_mismatch(checkpoint)
    traits = traits_of(checkpoint.config)
    no_cut = effect_of(PrunePlan(layers={}), structure)
    if reasons := list(obstacles("llama.cpp", traits, structure, no_cut)):
        raise UsageError(f"{model}: {' '.join(reasons)}")
    shape = gguf_shape(traits, structure, no_cut)
    if shape is None:
        raise AssertionError("a family without a form is an obstacle")
    opened = ExportModel(checkpoint, adapter, structure, traits, shape)
    refuse_unsupported_rope(opened.rope, model)
    return opened


def refuse_unsupported_rope(rope: dict[str, Any], where: str) -> None:
    """Raise `UsageError` for settings of rotary positions that GGUF can't express."""
    unsupported = [key for key, known in _YARN_DEFAULTS.items() if rope.get(key) not in known]
    if rope.get("partial_rotary_factor") not in (None, 1):
        unsupported.append("partial_rotary_factor")
    if unsupported:
        raise UsageError(
            f"{where}: config.json: gp export has no form for rope's {', '.join(unsupported)}."
        )


def add_rope(writer: gguf.GGUFWriter, rope: dict[str, Any], head_dim: int) -> None:
    """Write the keys of a config's `rope_parameters`."""
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def frequency_factors(rope: dict[str, Any], head_dim: int) -> NDArray[np.float32] | None:
    """Return the divisor of each frequency, `[head_dim / 2]`, as Llama 3 scales them.

    None for other rotary positions, which need no tensor in the file.
    """
    if rope.get("rope_type") != "llama3":
        return None
    exponents = np.arange(0, head_dim, 2) / head_dim
    wavelengths = 2 * np.pi * rope["rope_theta"] ** exponents
    rotations = rope["original_max_position_embeddings"] / wavelengths  # in the original context
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    share = np.clip((rotations - low) / (high - low), 0, 1)
    factors: NDArray[np.float32] = (1 / (share + (1 - share) / rope["factor"])).astype(np.float32)
    return factors
