"""The model whose latencies are asked for, and all that can be refused before one is measured."""

from dataclasses import dataclass
from typing import Final

import torch

from globalprune.artifacts.formatting import size
from globalprune.artifacts.plans.plan import ModelReference
from globalprune.artifacts.structure import LayerStructure, ModelStructure
from globalprune.errors import UsageError
from globalprune.evaluate.decoding import Decoding
from globalprune.evaluate.efficiency import free_memory
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.configs.pruned_config import RawConfig
from globalprune.models.meta_model import refuse_misfit
from globalprune.models.placement import Placement, dtype_at
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model

_MARGIN: Final = 1.25  # what lies beside weights and cache
_FEWEST_POINTS: Final = 2  # none, and all


@dataclass(frozen=True)
class Subject:
    """A model by its shape, without its weights."""

    reference: ModelReference
    config: RawConfig
    structure: ModelStructure
    layer: LayerStructure  # that all are like
    dtype: torch.dtype  # to be measured in


def find_subject(name: str, decoding: Decoding, placement: Placement) -> Subject:
    """Read config and shapes; raise `UsageError` where they can't be measured in that way."""
    checkpoint = open_checkpoint(resolve_model(name))
    structure = adapter_for(checkpoint.config).structure(checkpoint)
    refuse_misfit(checkpoint)
    layer = _the_one_layer(structure, name)
    _refuse_long_context(decoding, checkpoint)
    reference = ModelReference(
        source=name, structure=structure.fingerprint, revision=checkpoint.source.revision
    )
    dtype = dtype_at(placement, checkpoint)
    subject = Subject(reference, checkpoint.config, structure, layer, dtype)
    _refuse_small_memory(subject, decoding, placement.device)
    return subject


def refuse_small(decoding: Decoding, points: int, rounds: int) -> None:
    """Raise `UsageError` for numbers that can't be meant."""
    least = {
        "--batch-size": (decoding.batch_size, 1),
        "--context": (decoding.context, 1),
        "--tokens": (decoding.tokens, 1),
        "--points": (points, _FEWEST_POINTS),
        "--rounds": (rounds, 1),
    }
    for option, (value, minimum) in least.items():
        if value < minimum:
            raise UsageError(f"{option} {value}: must be at least {minimum}.")


def _the_one_layer(structure: ModelStructure, name: str) -> LayerStructure:
    """The layer that all are like; refuse ones that differ, or that lost a half."""
    if structure.has_experts:
        raise UsageError(
            f"{name}: has experts, and which of them a token meets no random model tells; their "
            "latencies can't be measured."
        )
    layer = structure.layers[0]
    alike = all(
        other.model_copy(update={"window": layer.window}) == layer for other in structure.layers
    )
    if not alike or not layer.attention.groups or not layer.mlp.groups:
        raise UsageError(
            f"{name}: its layers differ or have lost a half, and latencies are measured where all "
            "are alike and whole; measure the model before it was cut."
        )
    return layer


def _refuse_long_context(decoding: Decoding, checkpoint: Checkpoint) -> None:
    """Refuse tokens that stand where the model was never meant to get."""
    longest = checkpoint.config.get("max_position_embeddings")
    if not isinstance(longest, int) or decoding.positions <= longest:
        return
    most = longest - decoding.positions + decoding.context
    raise UsageError(
        f"--context {decoding.context}: {decoding.tokens} tokens behind it, and one to warm up, "
        f"pass the {longest:,} positions that {checkpoint.source.name} was made for; "
        + (f"name {most} or fewer." if most > 0 else "take fewer --tokens.")
    )


def _refuse_small_memory(subject: Subject, decoding: Decoding, device: str) -> None:
    """Refuse what memory doesn't hold: the full model's weights and cache, with a margin."""
    layer, structure = subject.layer, subject.structure
    cached = 2 * layer.attention.groups * layer.head_dim * len(structure.layers)
    numbers = structure.parameters + cached * decoding.positions * decoding.batch_size
    needed, free = round(_MARGIN * numbers * subject.dtype.itemsize), free_memory(device)
    if needed > free:
        raise UsageError(
            f"--device {device}: {size(needed)} are needed and {size(free)} are free; take a "
            "smaller --dtype, --batch-size or --context, or another --device."
        )
