"""The structure of a model: layers, sublayers, groups, their costs, and its fingerprint.

A structure is read from a checkpoint's tensors by `models/`. Here it is a value, so planning and
checking know every cost without torch. `unprunable_reason` says why a sublayer is never cut, and
`ModelTraits` holds what decides which runtimes can load a cut model.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from globalprune.artifacts.records import Record, digest_json

GroupType = Literal["attention", "mlp"]
GROUP_TYPES: tuple[GroupType, ...] = get_args(GroupType)  # also the order that breaks ties
RemovedGroups = Mapping[tuple[int, GroupType], NDArray[np.int64]]  # indices by layer and kind
LayerKind = Literal["full", "sliding", "no_rope"]
_UNPRUNABLE: Final = (
    "its query and key norms span all heads, so that no head goes without changing others"
)


class SublayerStructure(Record):
    """One sublayer of a layer: its attention or its MLP."""

    groups: int = Field(ge=0)  # 0: an earlier cut took this sublayer whole
    cost: int = Field(ge=0)  # parameters that go with one group, equal for all; 0: none may go
    shared: int = Field(default=0, ge=0)  # parameters that go with the last group: q/k norms
    kept: int = Field(default=0, ge=0)  # parameters that no cut removes: output biases
    # channels of every expert, whose groups lie one behind the other; empty where there are none
    experts: tuple[int, ...] = Field(default=(), exclude_if=lambda experts: not experts)
    chosen: int = Field(default=0, ge=0, exclude_if=lambda chosen: not chosen)  # for every token
    # why none of its groups may go, where it is another than norms that span all heads
    reason: str = Field(default="", exclude_if=lambda reason: not reason)

    @property
    def fixed(self) -> bool:
        """Return whether it exists and none of its groups may go; all its parameters are kept."""
        return self.groups > 0 and self.cost == 0

    @property
    def weight(self) -> int:
        """Return the parameters of one group, whether it may go or not."""
        return self.kept // self.groups if self.fixed else self.cost

    @property
    def candidates(self) -> int:
        """Return the number of groups that a plan may remove."""
        return 0 if self.fixed else self.groups

    @property
    def prunable(self) -> int:
        """Return the parameters of all groups together."""
        return self.groups * self.cost


class LayerStructure(Record):
    """One decoder layer; `tensors` maps the name below the layer to the shape."""

    attention: SublayerStructure
    mlp: SublayerStructure
    norms: int = Field(ge=0)  # parameters that go only when the whole layer is dropped
    query_heads_per_group: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    tensors: dict[str, tuple[int, ...]]
    # tokens that its attention sees at most; in no older analysis, which counts all as seen
    window: int | None = Field(default=None, ge=1, exclude_if=lambda window: window is None)

    def visible_tokens(self, context: int) -> int:
        """Return how many of `context` tokens its attention sees, and its cache holds."""
        return context if self.window is None else min(context, self.window)

    def sublayer(self, group_type: GroupType) -> SublayerStructure:
        """Return the sublayer of that kind."""
        return self.attention if group_type == "attention" else self.mlp


class ModelStructure(Record):
    """Every layer of a model, and the parameters of the whole, tied tensors counted once."""

    layers: tuple[LayerStructure, ...]
    parameters: int = Field(gt=0)

    @property
    def prunable(self) -> int:
        """Return the parameters of all groups of all layers."""
        return sum(sublayer.prunable for _, _, sublayer in self.sublayers())

    @property
    def fixed(self) -> dict[GroupType, SublayerStructure]:
        """Return the kinds of sublayers that no plan can cut, each with the first of its kind."""
        fixed = {kind: one for _, kind, one in reversed([*self.sublayers()]) if one.fixed}
        return {kind: fixed[kind] for kind in GROUP_TYPES if kind in fixed}

    @property
    def has_experts(self) -> bool:
        """Return whether the MLP of any layer is a mixture of experts."""
        return any(layer.mlp.experts for layer in self.layers)

    @cached_property
    def fingerprint(self) -> str:
        """Return `sha256:…` of the prunable geometry, without vocabulary, dtype and windows."""
        passing: Any = {"window": True, "attention": {"reason"}, "mlp": {"reason"}}
        layers = [layer.model_dump(mode="json", exclude=passing) for layer in self.layers]
        return digest_json(layers)

    def sublayers(self) -> Iterator[tuple[int, GroupType, SublayerStructure]]:
        """Yield every sublayer with its layer and kind, in the order that breaks ties."""
        for index, layer in enumerate(self.layers):
            for group_type in GROUP_TYPES:
                yield index, group_type, layer.sublayer(group_type)


def unprunable_reason(kind: GroupType, sublayer: SublayerStructure) -> str:
    """Return a clause that says that such sublayers stay whole in a model, and why."""
    return f"the {kind} of this model can't be cut ({sublayer.reason or _UNPRUNABLE})"


class ModelTraits(Record):
    """The architecture and its variant, as plain values; sizes of layers are in the structure."""

    model_type: str
    hidden_size: int
    tied_embeddings: bool
    sliding_window: bool  # in any layer
    rope_type: str  # default, llama3, yarn, …
    activation: str
    layer_kinds: tuple[LayerKind, ...] | None = None  # of each layer; None in older analyses
    # whether the config class of a type that no table knows wants the heads to divide that size
    heads_divide_hidden_size: bool = Field(default=False, exclude_if=lambda divide: not divide)
