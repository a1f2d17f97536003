"""The model that is measured, as its files describe it before it is loaded to be run."""

from dataclasses import dataclass

from globalprune.analyze.layers import chosen_layers
from globalprune.artifacts.analyses.analysis import ModelRecord
from globalprune.artifacts.structure import ModelStructure
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import stored_weights, weights_fingerprint
from globalprune.models.configs.config import ConfigFigures
from globalprune.models.configs.pruned_config import traits_of
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import ModelSource


@dataclass(frozen=True)
class Subject:
    """A model, and which of its layers are measured; it holds no weights."""

    source: ModelSource
    figures: ConfigFigures
    adapter: ModelAdapter
    structure: ModelStructure
    layers: range


def subject_of(checkpoint: Checkpoint, layers: str | None) -> Subject:
    """Read what there is to cut; raise if the model or `layers` is none of ours."""
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    source = checkpoint.source
    figures = ConfigFigures(checkpoint.config, source.name)
    return Subject(source, figures, adapter, structure, chosen_layers(layers, structure))


def model_record(checkpoint: Checkpoint, subject: Subject) -> ModelRecord:
    """Name the model so that it can be known again; reads a part of every tensor."""
    return ModelRecord(
        source=subject.source.name,
        revision=subject.source.revision,
        model_type=subject.adapter.name,
        structure_fingerprint=subject.structure.fingerprint,
        weights_fingerprint=weights_fingerprint(checkpoint),
        parameters=subject.structure.parameters,
        prunable_parameters=subject.structure.prunable,
        traits=traits_of(checkpoint.config),
        storage=stored_weights(checkpoint, subject.adapter, subject.structure),
    )
