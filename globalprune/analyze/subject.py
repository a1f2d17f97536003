"""The model that is measured, as its files describe it before any weight is loaded."""

from dataclasses import dataclass

from globalprune.analyze.layers import chosen_layers
from globalprune.artifacts.analysis_record import ModelRecord
from globalprune.artifacts.groups import ModelStructure
from globalprune.models.checkpoint import Checkpoint
from globalprune.models.config_figures import ConfigFigures
from globalprune.models.interface import ModelAdapter
from globalprune.models.opening import open_checkpoint
from globalprune.models.registry import adapter_for
from globalprune.models.source import ModelSource, resolve_model
from globalprune.models.weights_fingerprint import weights_fingerprint


@dataclass(frozen=True)
class Subject:
    """A model, and which of its layers are measured."""

    checkpoint: Checkpoint
    adapter: ModelAdapter
    structure: ModelStructure
    layers: range

    @property
    def source(self) -> ModelSource:
        """Where it was found."""
        return self.checkpoint.source

    @property
    def figures(self) -> ConfigFigures:
        """The numbers of its config."""
        return ConfigFigures(self.checkpoint.config, self.source.name)

    def record(self) -> ModelRecord:
        """Name it so that it can be known again; reads a part of every tensor."""
        return ModelRecord(
            source=self.source.name,
            revision=self.source.revision,
            model_type=self.adapter.name,
            structure_fingerprint=self.structure.fingerprint,
            weights_fingerprint=weights_fingerprint(self.checkpoint),
            parameters=self.structure.parameters,
            prunable_parameters=self.structure.prunable,
        )


def open_subject(model: str, layers: str | None) -> Subject:
    """Find the model, and read what there is to cut; raise if it or `layers` is none of ours."""
    checkpoint = open_checkpoint(resolve_model(model))
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    return Subject(checkpoint, adapter, structure, chosen_layers(layers, structure))
