"""The models that latencies are measured with: all layers alike, fewer groups of one kind."""

from typing import Final, NamedTuple

import torch
from transformers import PreTrainedModel

from globalprune.artifacts.plans.index_set import IndexRanges
from globalprune.artifacts.plans.plan import LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.structure import LayerStructure, ModelStructure
from globalprune.models.configs.pruned_config import RawConfig, write_layer_shapes
from globalprune.models.meta_model import empty_model

_ALIGNED: Final = 64  # GPUs are slower at widths that are no such multiple


class Kept(NamedTuple):
    """The groups that every layer keeps."""

    attention: int
    mlp: int


def shapes_to_time(layer: LayerStructure, points: int) -> list[Kept]:
    """The whole layer first, then fewer of one kind and all of the other, down to none."""
    whole = Kept(layer.attention.groups, layer.mlp.groups)
    return [
        whole,
        *(whole._replace(attention=count) for count in fewer_than(whole.attention, points)),
        *(whole._replace(mlp=count) for count in fewer_than(whole.mlp, points)),
    ]


def fewer_than(groups: int, points: int) -> list[int]:
    """Counts below `groups`, evenly spaced, falling to none; with it they are `points`.

    All of them where there are fewer; where there are many, such as GPUs are fast at.
    """
    unit = _ALIGNED if groups >= _ALIGNED * points else 1
    spaced = {unit * round(place * groups / unit / (points - 1)) for place in range(points - 1)}
    return sorted(spaced - {groups}, reverse=True)


def model_of(
    config: RawConfig, structure: ModelStructure, kept: Kept, dtype: torch.dtype
) -> PreTrainedModel:
    """The class that a cut of every layer to `kept` would be loaded as, on no memory."""
    cuts = [
        LayerCuts(
            attention=IndexRanges.of(range(kept.attention, layer.attention.groups)),
            mlp=IndexRanges.of(range(kept.mlp, layer.mlp.groups)),
        )
        for layer in structure.layers
    ]
    effect = effect_of(PrunePlan(layers=dict(enumerate(cuts))), structure)
    return empty_model(write_layer_shapes(config, structure, effect).config, dtype)
