"""The shapes of gated decoder layers, read from a config and checked against the tensors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from globalprune.artifacts.structure import GroupType
from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.configs.config import EXPERT_WIDTHS, ConfigSizes
from globalprune.models.gated_decoder.form import (
    HEAD_AXIS,
    HIDDEN_AXIS,
    LayerForm,
    MixtureOfExperts,
    Shapes,
)

_COUNT_KEYS: Final = {  # by axis: the key under which the config counts its heads or channels
    "Q": "num_attention_heads",
    "K": "num_key_value_heads",
    "F": "intermediate_size",
}


@dataclass(frozen=True)
class ExpertShapes:
    """The widths of a layer's experts, none if it has no experts, and its other tensors."""

    widths: tuple[int, ...]
    chosen: int  # experts that a token is sent to
    other_tensors: Shapes


NO_EXPERTS: Final = ExpertShapes((), 0, {})


@dataclass(frozen=True)
class LayerShapes:
    """One layer's tensors by their names below the layer, and how they divide into heads."""

    tensors: Shapes
    head_dim: int
    query_heads_per_group: int
    groups: Mapping[GroupType, int]  # of each sublayer; 0 where it is empty
    experts: ExpertShapes = NO_EXPERTS


def read_shapes(checkpoint: Checkpoint, prefix: str, form: LayerForm) -> tuple[LayerShapes, ...]:
    """Return the layers below `prefix`.

    Raise `CheckpointError` or `UnsupportedArchitecture` for a layer that is inconsistent in itself
    or with the config.
    """
    config = ConfigSizes(checkpoint.config, checkpoint.source.name)
    layers = _split_by_layer(checkpoint, prefix, config)
    experts = [read_experts(form.mixture, layer, config, i) for i, layer in enumerate(layers)]
    readers = [
        _LayerReader(config, form.without_mlp() if own.widths else form, index, own.other_tensors)
        for index, own in enumerate(experts)
    ]
    for reader in readers:
        reader.check_names()
    head_dim = _head_dim(layers, form, config)
    shapes = (reader.read(head_dim) for reader in readers)
    return tuple(map(_with_experts, shapes, layers, experts))


def read_experts(
    mixture: MixtureOfExperts | None, tensors: Shapes, config: ConfigSizes, index: int
) -> ExpertShapes:
    """Take the experts from a layer's tensors; raise `CheckpointError` where they don't fit."""
    if mixture is None or mixture.router not in tensors:
        return ExpertShapes((), 0, tensors)
    where = f"{config.where}: layer {index}"
    count = next(filter(None, map(config.get, mixture.count_keys)), 0)
    widths = tuple(_expert_width(mixture, tensors, number) for number in range(count))
    expected = mixture.shapes(widths, config.require("hidden_size"))
    wrong = [
        f"{name} is {tensors.get(name, 'missing')}, not {shape}"
        for name, shape in expected.items()
        if tensors.get(name) != shape
    ]
    if wrong:
        raise CheckpointError(
            f"{where}: the experts don't fit together: {'; '.join(wrong)}; give a checkpoint whose "
            "tensors and config belong together."
        )
    stated = _stated_widths(mixture, config, index, count)
    if list(widths) != stated:
        raise CheckpointError(
            f"{where}: the tensors are those of experts with {_format_widths(widths)} channels, "
            f"where config.json says {_format_widths(stated)}; use the config that belongs to the "
            "weights."
        )
    others = {name: shape for name, shape in tensors.items() if name not in expected}
    return ExpertShapes(widths, config.require("num_experts_per_tok"), others)


def _expert_width(mixture: MixtureOfExperts, tensors: Shapes, number: int) -> int:
    """Return one expert's channels; 0 where an earlier cut removed them all."""
    shape = tensors.get(mixture.weight(number, mixture.up), (0,))
    return shape[0] if shape else 0


def _stated_widths(
    mixture: MixtureOfExperts, config: ConfigSizes, index: int, count: int
) -> list[int]:
    """Return every expert's width as the config states it."""
    own = config.layer(index).get(EXPERT_WIDTHS)
    return own if isinstance(own, list) else [config.require(mixture.width_key, index)] * count


def _format_widths(widths: Sequence[int]) -> str:
    """Format widths, once if all are equal."""
    return f"{widths[0]}" if len(set(widths)) == 1 else ", ".join(map(str, widths))


def _with_experts(shapes: LayerShapes, tensors: Shapes, experts: ExpertShapes) -> LayerShapes:
    """Add a layer's experts, if it has any, to its shapes."""
    if not experts.widths:
        return shapes
    groups = {**shapes.groups, "mlp": sum(experts.widths)}
    return replace(shapes, tensors=tensors, groups=groups, experts=experts)


def _split_by_layer(checkpoint: Checkpoint, prefix: str, config: ConfigSizes) -> list[Shapes]:
    """Return the tensors of each layer; raise unless there are as many as the config says."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.(.+)")
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, info in checkpoint.tensors.items():
        if match := pattern.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = info.shape
    count = config.require("num_hidden_layers")
    if not layers:
        raise UnsupportedArchitecture(
            f"{config.where}: no tensor is named {prefix}0.…; "
            "globalprune cuts causal language models that were saved whole."
        )
    if layers.keys() != set(range(count)):
        raise CheckpointError(
            f"{config.where}: the tensors are those of {len(layers)} layers, the last of them "
            f"{max(layers)}, where config.json says num_hidden_layers {count}; "
            "download or save the model again."
        )
    return [layers[index] for index in range(count)]


def _head_dim(layers: list[Shapes], form: LayerForm, config: ConfigSizes) -> int:
    """Return the size of one head: that of the config, else query rows / query heads."""
    stated = config.get("head_dim")
    if stated is not None:
        return stated
    name, dim = form.projections.measured_at["Q"]
    for index, tensors in enumerate(layers):
        size = form.axis_size(tensors, "Q")
        if not size:
            continue
        heads = config.require("num_attention_heads", index)
        if size % heads:
            raise UnsupportedArchitecture(
                f"{config.where}: layer {index}: {name}.weight has {size} "
                f"{('rows', 'columns')[dim]}, which num_attention_heads {heads} doesn't divide; "
                "mend config.json."
            )
        return size // heads
    return config.require("head_dim")


@dataclass(frozen=True)
class _LayerReader:
    """Checks which tensors one layer has, then their shapes."""

    config: ConfigSizes
    form: LayerForm
    index: int
    tensors: Shapes

    def check_names(self) -> None:
        """Raise for tensors that are unknown or missing."""
        self._refuse_unknown_names()
        self._refuse_missing_names()

    def read(self, head_dim: int) -> LayerShapes:
        """Check every shape and return them."""
        query_heads_per_group = self._query_heads_per_group(head_dim)
        self._refuse_norms_over_heads(head_dim)
        self._refuse_wrong_shapes(head_dim)
        self._refuse_other_counts(head_dim)
        groups: dict[GroupType, int] = {
            "attention": self._size("K") // head_dim,
            "mlp": self._size("F"),
        }
        return LayerShapes(self.tensors, head_dim, query_heads_per_group, groups)

    def _size(self, axis: str) -> int:
        return self.form.axis_size(self.tensors, axis)

    @property
    def _where(self) -> str:
        return f"{self.config.where}: layer {self.index}"

    def _is_empty(self, group_type: GroupType) -> bool:
        """Whether an earlier cut removed the sublayer: it has no weight, and the config says so."""
        names = self.form.projections.sublayers[group_type]
        gone = not any(f"{name}.weight" in self.tensors for name in names)
        return gone and group_type in self.config.removed_sublayers(self.index)

    def _refuse_unknown_names(self) -> None:
        known = self.form.shapes(dict.fromkeys((*_COUNT_KEYS, HEAD_AXIS, HIDDEN_AXIS), 0))
        unknown = sorted(self.tensors.keys() - known.keys())
        if unknown:
            raise UnsupportedArchitecture(
                f"{self._where}: {', '.join(unknown)}: not a tensor of this architecture; "
                "projections fused otherwise, experts and adapters can't be cut: give a plain "
                "model."
            )

    def _refuse_missing_names(self) -> None:
        needed = set(self.form.norms.tensors)
        for group_type, projections in self.form.projections.sublayers.items():
            if not self._is_empty(group_type):
                needed |= {f"{name}.weight" for name in projections}
                needed |= {*self.form.inner_tensors(group_type)}
        missing = sorted(needed - self.tensors.keys())
        if missing:
            raise CheckpointError(
                f"{self._where}: {', '.join(missing)}: not in the checkpoint; "
                "download or save the model again."
            )

    def _query_heads_per_group(self, head_dim: int) -> int:
        """Return query rows / key rows in whole heads; the config's ratio for an empty sublayer."""
        if self._is_empty("attention"):
            heads = self.config.require("num_attention_heads")
            return max(1, heads // (self.config.get("num_key_value_heads") or heads))
        queries, keys = self._size("Q"), self._size("K")
        if not keys or queries % keys or keys % head_dim or not queries:
            of_queries, of_keys = (self.form.projections.measured_at[axis][0] for axis in "QK")
            raise UnsupportedArchitecture(
                f"{self._where}: {self._describe(of_queries)} and {self._describe(of_keys)} don't "
                f"divide into heads of {head_dim} with equally many query heads to each key/value "
                "head; mend head_dim in config.json, or give another model."
            )
        return queries // keys

    def _describe(self, projection: str) -> str:
        return f"{projection.rpartition('.')[2]} {self.tensors[f'{projection}.weight']}"

    def _refuse_norms_over_heads(self, head_dim: int) -> None:
        for name, axis in self.form.query_key_norms.items():
            shape = self.tensors.get(name, (head_dim,))
            if axis == HEAD_AXIS and shape != (head_dim,):
                raise UnsupportedArchitecture(
                    f"{self._where}: {name} is {shape}, where one head has {head_dim}: a norm "
                    "that spans all heads changes when a head goes, so the cut would not be exact."
                )

    def _refuse_wrong_shapes(self, head_dim: int) -> None:
        """Raise unless every tensor has the shape that its axes make."""
        sizes = {axis: self._size(axis) for axis in _COUNT_KEYS}
        sizes |= {HEAD_AXIS: head_dim, HIDDEN_AXIS: self.config.require("hidden_size")}
        expected = self.form.shapes(sizes)
        wrong = [
            f"{name} is {shape}, not {expected[name]}"
            for name, shape in self.tensors.items()
            if shape != expected[name]
        ]
        if wrong:
            raise UnsupportedArchitecture(
                f"{self._where}: the shapes don't fit together: {'; '.join(wrong)}; "
                "give a checkpoint whose tensors and config belong together."
            )

    def _refuse_other_counts(self, head_dim: int) -> None:
        """Raise unless the config counts the same heads and channels: no loader could build it."""
        for axis, key in _COUNT_KEYS.items():
            stated = self.config.get(key, self.index)
            count = self._size(axis) // (1 if axis == "F" else head_dim)
            if count and stated is not None and count != stated:
                name, _ = self.form.projections.measured_at[axis]
                raise CheckpointError(
                    f"{self._where}: {name}.weight makes {key} {count}, where "
                    f"config.json says {stated}; use the config that belongs to the weights."
                )
