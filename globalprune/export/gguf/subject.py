"""The model that is to be exported: opened, and refused where llama.cpp has no form of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from globalprune.artifacts.disk import refuse_inside
from globalprune.artifacts.plans.gguf_layout import GgufShape, gguf_shape
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.runtime_compatibility import obstacles
from globalprune.artifacts.structure import ModelStructure, ModelTraits
from globalprune.errors import UsageError
from globalprune.export.gguf.rope import refuse_strange_rope
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.weight_checks import EMBEDDING
from globalprune.models.configs.pruned_config import native_config, traits_of
from globalprune.models.meta_model import refuse_misfit
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model


@dataclass(frozen=True)
class Subject:
    """A checkpoint, and how its layers are to stand in the file."""

    checkpoint: Checkpoint
    adapter: ModelAdapter
    structure: ModelStructure
    traits: ModelTraits
    shape: GgufShape

    @property
    def rows(self) -> int:
        """The tokens that the embedding has room for."""
        return self.checkpoint.tensors[EMBEDDING].shape[0]

    @property
    def stored_dtype(self) -> str:
        """How the checkpoint stores its numbers, by its embedding."""
        return self.checkpoint.tensors[EMBEDDING].dtype

    @cached_property
    def config(self) -> Any:
        """The architecture's own config object, with its defaults."""
        return native_config(self.checkpoint.config)

    @property
    def rope(self) -> dict[str, Any]:
        """Its rotary positions."""
        rope: dict[str, Any] = self.config.rope_parameters
        return rope


def find_subject(model: str, out: Path) -> Subject:
    """Open a model that has a form in llama.cpp; raise `UsageError` for one that hasn't."""
    source = resolve_model(model)
    if source.is_gguf:
        raise UsageError(f"{model}: is a GGUF file already; name the folder that it was made from.")
    refuse_inside(out, source.path)
    checkpoint = open_checkpoint(source)
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    refuse_misfit(checkpoint)
    traits = traits_of(checkpoint.config)
    as_it_is = effect_of(PrunePlan(layers={}), structure)
    if found := list(obstacles("llama.cpp", traits, structure, as_it_is)):
        raise UsageError(f"{model}: {' '.join(found)}")
    shape = gguf_shape(traits, structure, as_it_is)
    if shape is None:
        raise AssertionError("a family without a form is an obstacle")
    subject = Subject(checkpoint, adapter, structure, traits, shape)
    refuse_strange_rope(subject.rope, model)
    return subject
