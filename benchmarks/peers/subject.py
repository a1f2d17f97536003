"""The model that a recipe prunes: its groups, where their outputs enter, and masks over them.

A group is taken out by setting its columns of o_proj or down_proj to zero. The logits are those of
the model without it, so for judging nothing needs to be cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from globalprune.artifacts.structure import GroupType, ModelStructure
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.placement import choose_placement
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.statistics.hooks import find_sites
from globalprune.statistics.interface import Site, SublayerKey

Scores = Mapping[SublayerKey, torch.Tensor]  # one number for each group of a sublayer
Gone = Mapping[SublayerKey, torch.Tensor]  # bool: which groups of a sublayer go


@dataclass(frozen=True)
class Subject:
    """A loaded model and what there is to take out of it."""

    model: PreTrainedModel
    adapter: ModelAdapter
    structure: ModelStructure
    sites: tuple[Site, ...]  # every linear layer that groups own a part of

    @property
    def outputs(self) -> dict[SublayerKey, Site]:
        """o_proj and down_proj of every layer, in the order in which they are computed."""
        return {site.sublayer: site for site in self.sites if site.is_output}

    def layer(self, index: int) -> nn.Module:
        """A decoder layer."""
        return self.model.get_submodule(self.adapter.layer_prefix(index).removesuffix("."))

    def cost(self, sublayer: SublayerKey) -> int:
        """The parameters of one group of a sublayer."""
        layer, kind = sublayer
        return self.structure.layers[layer].sublayer(kind).cost


def load_subject(source: str) -> Subject:
    """Load a model in float32, on the first GPU if there is one, with its structure."""
    checkpoint = open_checkpoint(resolve_model(source))
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    device = choose_placement(None, None).device
    model = load_model(source, dtype="float32", device=device)
    layers = range(len(structure.layers))
    return Subject(model, adapter, structure, find_sites(model, adapter, structure, layers))


def columns(site: Site, groups: torch.Tensor) -> torch.Tensor:
    """Spread a mask over groups to one over the output's columns: bool `[D]`."""
    return groups.repeat_interleave(site.axes["weight"].width)


def by_group(site: Site, values: torch.Tensor) -> torch.Tensor:
    """One row of columns for each group: `[groups, width]` of `[D]`."""
    return values.reshape(site.groups, -1)


@torch.no_grad()
def take_out(subject: Subject, gone: Gone) -> int:
    """Zero what goes; return the parameters that a cut would remove."""
    for sublayer, groups in gone.items():
        site = subject.outputs[sublayer]
        site.linear.weight[:, columns(site, groups)] = 0
    return removed_parameters(subject.structure, gone)


def removed_parameters(structure: ModelStructure, gone: Gone) -> int:
    """The groups' parameters, and those that the last group of a sublayer takes along."""
    total = 0
    for (layer, kind), groups in gone.items():
        sublayer = structure.layers[layer].sublayer(kind)
        total += int(groups.sum()) * sublayer.cost
        total += sublayer.shared if bool(groups.all()) else 0
    return total


def sublayers_of(structure: ModelStructure, kind: GroupType) -> list[SublayerKey]:
    """The sublayers of one kind, front to back."""
    return [(index, found) for index, found, _ in structure.sublayers() if found == kind]
