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


@dataclass(frozen=True)
class MixtureShapes:
    """The widths of a layer's experts, none if it has no experts, and its other tensors."""

    experts: tuple[int, ...]
    chosen: int  # experts that a token is given to
    rest: Shapes


NO_EXPERTS: Final = MixtureShapes((), 0, {})


def read_mixture(
    mixture: MixtureOfExperts | None, tensors: Shapes, config: ConfigSizes, index: int
) -> MixtureShapes:
    """Take the experts from a layer's tensors; raise `CheckpointError` where they don't fit."""
    if mixture is None or mixture.router not in tensors:
        return MixtureShapes((), 0, tensors)
    where = f"{config.where}: layer {index}"
    count = next(filter(None, map(config.find, mixture.count_keys)), 0)
    experts = tuple(_width(mixture, tensors, number) for number in range(count))
    expected = mixture.shapes(experts, config.need("hidden_size"))
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
    said = _said(mixture, config, index, count)
    if list(experts) != said:
        raise CheckpointError(
            f"{where}: the tensors are those of experts with {_told(experts)} channels, where "
            f"config.json says {_told(said)}; use the config that belongs to the weights."
        )
    rest = {name: shape for name, shape in tensors.items() if name not in expected}
    return MixtureShapes(experts, config.need("num_experts_per_tok"), rest)


def _width(mixture: MixtureOfExperts, tensors: Shapes, number: int) -> int:
    """One expert's channels; 0 where an earlier cut took them all."""
    shape = tensors.get(mixture.weight(number, mixture.up), (0,))
    return shape[0] if shape else 0


def _said(mixture: MixtureOfExperts, config: ConfigSizes, index: int, count: int) -> list[int]:
    """What the config says of every expert's width."""
    own = config.layer(index).get(EXPERT_WIDTHS)
    return own if isinstance(own, list) else [config.need(mixture.width_key, index)] * count


def _told(widths: Sequence[int]) -> str:
    """Widths in few words."""
    return f"{widths[0]}" if len(set(widths)) == 1 else ", ".join(map(str, widths))


_COUNTED: Final = {  # by axis: the key under which the config counts it, heads or channels
    "Q": "num_attention_heads",
    "K": "num_key_value_heads",
    "F": "intermediate_size",
}


@dataclass(frozen=True)
class LayerShapes:
    """One layer's tensors by their names below the layer, and how they divide into heads."""

    tensors: Shapes
    head_dim: int
    query_heads_per_group: int
    groups: Mapping[GroupType, int]  # of each sublayer; 0 where it is empty
    mixture: MixtureShapes = NO_EXPERTS


def read_shapes(checkpoint: Checkpoint, prefix: str, form: LayerForm) -> tuple[LayerShapes, ...]:
    """The layers below `prefix`, each consistent in itself and with the config."""
    config = ConfigSizes(checkpoint.config, checkpoint.source.name)
    layers = _split_by_layer(checkpoint, prefix, config)
    mixtures = [read_mixture(form.mixture, layer, config, i) for i, layer in enumerate(layers)]
    readers = [
        _LayerReader(config, form.without_mlp() if found.experts else form, index, found.rest)
        for index, found in enumerate(mixtures)
    ]
    for reader in readers:
        reader.check_names()
    head_dim = _head_dim(layers, form, config)
    shapes = (reader.read(head_dim) for reader in readers)
    return tuple(map(_with_experts, shapes, layers, mixtures))


def _with_experts(shapes: LayerShapes, tensors: Shapes, found: MixtureShapes) -> LayerShapes:
    """A layer's shapes with those of its experts, if it has any."""
    if not found.experts:
        return shapes
    groups = {**shapes.groups, "mlp": sum(found.experts)}
    return replace(shapes, tensors=tensors, groups=groups, mixture=found)


def _split_by_layer(checkpoint: Checkpoint, prefix: str, config: ConfigSizes) -> list[Shapes]:
    """The tensors of each layer, as many layers as the config says and none left out."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.(.+)")
    found: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, info in checkpoint.tensors.items():
        if match := pattern.fullmatch(name):
            found.setdefault(int(match[1]), {})[match[2]] = info.shape
    said = config.need("num_hidden_layers")
    if not found:
        raise UnsupportedArchitecture(
            f"{config.where}: no tensor is named {prefix}0.…; "
            "globalprune cuts causal language models that were saved whole."
        )
    if found.keys() != set(range(said)):
        raise CheckpointError(
            f"{config.where}: the tensors are those of {len(found)} layers, the last of them "
            f"{max(found)}, where config.json says num_hidden_layers {said}; "
            "download or save the model again."
        )
    return [found[index] for index in range(said)]


def _head_dim(layers: list[Shapes], form: LayerForm, config: ConfigSizes) -> int:
    """The size of one head: the config's word, else query rows / query heads."""
    said = config.find("head_dim")
    if said is not None:
        return said
    name, dim = form.projections.measured_at["Q"]
    for index, tensors in enumerate(layers):
        size = form.axis_size(tensors, "Q")
        if not size:
            continue
        heads = config.need("num_attention_heads", index)
        if size % heads:
            raise UnsupportedArchitecture(
                f"{config.where}: layer {index}: {name}.weight has {size} "
                f"{('rows', 'columns')[dim]}, which num_attention_heads {heads} doesn't divide; "
                "mend config.json."
            )
        return size // heads
    return config.need("head_dim")


@dataclass(frozen=True)
class _LayerReader:
    """Reads one layer: first which tensors it has, then what their shapes say."""

    config: ConfigSizes
    form: LayerForm
    index: int
    tensors: Shapes

    def check_names(self) -> None:
        """Raise for tensors that are too many or too few."""
        self._refuse_strange_names()
        self._refuse_missing_names()

    def read(self, head_dim: int) -> LayerShapes:
        """Check every shape, then hand them on."""
        queries = self._query_heads_per_group(head_dim)
        self._refuse_norms_over_heads(head_dim)
        self._refuse_wrong_shapes(head_dim)
        self._refuse_disagreement(head_dim)
        groups: dict[GroupType, int] = {
            "attention": self._size("K") // head_dim,
            "mlp": self._size("F"),
        }
        return LayerShapes(self.tensors, head_dim, queries, groups)

    def _size(self, axis: str) -> int:
        return self.form.axis_size(self.tensors, axis)

    @property
    def _where(self) -> str:
        return f"{self.config.where}: layer {self.index}"

    def _is_empty(self, group_type: GroupType) -> bool:
        """Whether an earlier cut took the sublayer: its weights are gone, and the config knows."""
        names = self.form.projections.sublayers[group_type]
        gone = not any(f"{name}.weight" in self.tensors for name in names)
        return gone and group_type in self.config.emptied(self.index)

    def _refuse_strange_names(self) -> None:
        known = self.form.shapes(dict.fromkeys((*_COUNTED, HEAD_AXIS, HIDDEN_AXIS), 0))
        strange = sorted(self.tensors.keys() - known.keys())
        if strange:
            raise UnsupportedArchitecture(
                f"{self._where}: {', '.join(strange)}: not a tensor of this architecture; "
                "projections fused otherwise, experts and adapters can't be cut: give a plain "
                "model."
            )

    def _refuse_missing_names(self) -> None:
        needed = set(self.form.norms.tensors)
        for group_type, projections in self.form.projections.sublayers.items():
            if not self._is_empty(group_type):
                needed |= {f"{name}.weight" for name in projections}
                needed |= {*self.form.inside(group_type)}
        missing = sorted(needed - self.tensors.keys())
        if missing:
            raise CheckpointError(
                f"{self._where}: {', '.join(missing)}: not in the checkpoint; "
                "download or save the model again."
            )

    def _query_heads_per_group(self, head_dim: int) -> int:
        """Query rows / key rows, in whole heads; the config's ratio where no attention is left."""
        if self._is_empty("attention"):
            heads = self.config.need("num_attention_heads")
            return max(1, heads // (self.config.find("num_key_value_heads") or heads))
        queries, keys = self._size("Q"), self._size("K")
        if not keys or queries % keys or keys % head_dim or not queries:
            of_queries, of_keys = (self.form.projections.measured_at[axis][0] for axis in "QK")
            raise UnsupportedArchitecture(
                f"{self._where}: {self._told(of_queries)} and {self._told(of_keys)} don't divide "
                f"into heads of {head_dim} with equally many query heads to each key/value head; "
                "mend head_dim in config.json, or give another model."
            )
        return queries // keys

    def _told(self, projection: str) -> str:
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
        """Compare every tensor with what the named axes make of it."""
        sizes = {axis: self._size(axis) for axis in _COUNTED}
        sizes |= {HEAD_AXIS: head_dim, HIDDEN_AXIS: self.config.need("hidden_size")}
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

    def _refuse_disagreement(self, head_dim: int) -> None:
        """The config must count the same heads and channels, or no loader can build the layer."""
        for axis, key in _COUNTED.items():
            said = self.config.find(key, self.index)
            found = self._size(axis) // (1 if axis == "F" else head_dim)
            if found and said is not None and found != said:
                name, _ = self.form.projections.measured_at[axis]
                raise CheckpointError(
                    f"{self._where}: {name}.weight makes {key} {found}, where "
                    f"config.json says {said}; use the config that belongs to the weights."
                )
