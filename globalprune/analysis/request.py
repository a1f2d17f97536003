"""What an analysis measures: the model, its layers, the importances and labels, all checked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from globalprune.artifacts.analyses.analysis import ModelRecord
from globalprune.artifacts.analyses.normalisers import NormaliserName, normaliser_named
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import UsageError
from globalprune.importance import Importance
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.shard_writer import stored_weights
from globalprune.models.configs.config import ConfigSizes
from globalprune.models.configs.native_config import traits_of
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.sources.source import ModelSource
from globalprune.statistics.interface import ORDER_STATISTICS
from globalprune.statistics.loss import LabelDraw
from globalprune.text.windows import TokenWindows

LABELS = ("text", "sampled")


def label_draw(labels: str, seed: int) -> LabelDraw | None:
    """Return what draws the labels, None where the text gives them; raise for an unknown name."""
    if labels not in LABELS:
        raise UsageError(f"--labels: {labels} is not known; there are {', '.join(LABELS)}.")
    return LabelDraw(seed) if labels == "sampled" else None


def chosen_normalisers(
    methods: Sequence[Importance], named: str | None
) -> dict[str, NormaliserName]:
    """Return the normaliser of each method that has one; `named` is for the first method."""
    normalisers = {method.name: method.normaliser for method in methods}
    if named is not None:
        normalisers[methods[0].name] = normaliser_named(named)
    return {name: normaliser for name, normaliser in normalisers.items() if normaliser != "none"}


def refuse_ordering_experts(methods: Sequence[Importance], structure: ModelStructure) -> None:
    """Raise `UsageError` for a method that orders what enters a single output projection."""
    ordering = [method.name for method in methods if set(method.needs) & set(ORDER_STATISTICS)]
    if ordering and structure.has_experts:
        raise UsageError(
            f"--importance {ordering[0]}: can't be made of experts, whose channels enter many "
            "output projections; say --importance fisher, or another."
        )


def refuse_single_window(methods: Sequence[Importance], windows: TokenWindows) -> None:
    """Raise `UsageError` for a method that needs validation windows, where there is just one."""
    validated = [method.name for method in methods if "measured_removal_loss" in method.needs]
    if validated and len(windows.rows) < 2:  # noqa: PLR2004 - one to fit to, one to validate on
        raise UsageError(
            f"--importance {validated[0]}: a single window of text can't be both fitted to and "
            "validated on; say --samples 2 at least, better 128."
        )


_LAYERS = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*")


def chosen_layers(text: str | None, structure: ModelStructure) -> range:
    """Return the layers that `A:B` names, half-open; either end may be left out, None is all."""
    count = len(structure.layers)
    where = f"--layers {text}"
    match = _LAYERS.fullmatch(":" if text is None else text)
    if match is None:
        raise UsageError(f"{where}: is not A:B (from layer A up to, not including, B); say 10:15.")
    first, end = int(match[1] or 0), int(match[2] or count)
    if end > count:
        raise UsageError(
            f"{where}: the model has {count} layers, 0 to {count - 1}; end at {count}."
        )
    if first >= end:
        raise UsageError(f"{where}: names no layer of the {count}; A must be less than B.")
    layers = range(first, end)
    if not any(
        sublayer.candidates for index, _, sublayer in structure.sublayers() if index in layers
    ):
        raise UsageError(f"{where}: these layers have no groups left to measure; name others.")
    return layers


@dataclass(frozen=True)
class Subject:
    """A model, and which of its layers are measured; it holds no weights."""

    source: ModelSource
    figures: ConfigSizes
    adapter: ModelAdapter
    structure: ModelStructure
    layers: range


def subject_of(model: PreparedModel, layers: str | None) -> Subject:
    """Return what is measured; raise `UsageError` for `layers` that the model lacks."""
    structure = model.structure
    measured = chosen_layers(layers, structure)
    return Subject(model.source, model.figures, model.adapter, structure, measured)


def model_record(model: PreparedModel) -> ModelRecord:
    """Return the record that identifies the model; a part of every tensor is read for it."""
    structure = model.structure
    return ModelRecord(
        source=model.name,
        revision=model.source.revision,
        model_type=model.adapter.name,
        structure_fingerprint=structure.fingerprint,
        weights_fingerprint=model.weights(),
        parameters=structure.parameters,
        prunable_parameters=structure.prunable,
        traits=traits_of(model.checkpoint.config),
        storage=stored_weights(model.checkpoint, model.adapter, structure),
        proved_with=dict(model.adapter.proved_with),
    )
