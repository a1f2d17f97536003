"""The shapes of gated decoder layers, read from a checkpoint and checked against one another.

Heads and widths come from the tensors, never from hidden / heads; the config is asked for what no
tensor says (the size of one head), and must agree with the rest.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from globalprune.artifacts.groups import GroupType
from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.checkpoint import Checkpoint
from globalprune.models.config_figures import ConfigFigures
from globalprune.models.gated_decoder_norms import QUERY_KEY_NORMS, LayerNorms

Shapes = Mapping[str, tuple[int, ...]]

# rows and columns of each projection: D model width, Q all query heads, K all key/value heads,
# F MLP width. Groups own slices of Q, K and F; nothing owns D.
MODEL_WIDTH = "D"
PROJECTIONS: dict[GroupType, dict[str, tuple[str, str]]] = {
    "attention": {
        "self_attn.q_proj": ("Q", "D"),
        "self_attn.k_proj": ("K", "D"),
        "self_attn.v_proj": ("K", "D"),
        "self_attn.o_proj": ("D", "Q"),
    },
    "mlp": {
        "mlp.gate_proj": ("F", "D"),
        "mlp.up_proj": ("F", "D"),
        "mlp.down_proj": ("D", "F"),
    },
}
_MEASURED_AT = {"Q": "self_attn.q_proj", "K": "self_attn.k_proj", "F": "mlp.up_proj"}


@dataclass(frozen=True)
class LayerShapes:
    """One layer's tensors by their names below the layer, and how they divide into heads."""

    tensors: Shapes
    head_dim: int
    query_heads_per_group: int

    def groups(self, group_type: GroupType) -> int:
        """The number of groups of a half; 0 where it is empty."""
        if group_type == "mlp":
            return axis_size(self.tensors, "F")
        return axis_size(self.tensors, "K") // self.head_dim


def axis_size(tensors: Shapes, axis: str) -> int:
    """The length of Q, K or F; 0 where the half is empty or its tensor is no matrix."""
    shape = tensors.get(f"{_MEASURED_AT[axis]}.weight", ())
    return shape[0] if len(shape) == 2 else 0  # noqa: PLR2004


def read_shapes(
    checkpoint: Checkpoint, prefix: str, norms: LayerNorms, *, query_key_norms: bool
) -> tuple[LayerShapes, ...]:
    """The layers below `prefix`, each consistent in itself and with the config."""
    config = ConfigFigures(checkpoint.config, checkpoint.source.name)
    layers = _split_by_layer(checkpoint, prefix, config)
    norms_of_heads = QUERY_KEY_NORMS if query_key_norms else ()
    readers = [
        _LayerReader(config, index, tensors, norms.tensors, norms_of_heads)
        for index, tensors in enumerate(layers)
    ]
    for reader in readers:
        reader.check_names()
    head_dim = _head_dim(layers, config)
    return tuple(reader.read(head_dim) for reader in readers)


def _split_by_layer(checkpoint: Checkpoint, prefix: str, config: ConfigFigures) -> list[Shapes]:
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


def _head_dim(layers: list[Shapes], config: ConfigFigures) -> int:
    """The size of one head: the config's word, else query rows / query heads."""
    said = config.find("head_dim")
    if said is not None:
        return said
    for index, tensors in enumerate(layers):
        rows = axis_size(tensors, "Q")
        if not rows:
            continue
        heads = config.need("num_attention_heads", index)
        if rows % heads:
            raise UnsupportedArchitecture(
                f"{config.where}: layer {index}: self_attn.q_proj.weight has {rows} rows, which "
                f"num_attention_heads {heads} doesn't divide; mend config.json."
            )
        return rows // heads
    return config.need("head_dim")


@dataclass(frozen=True)
class _LayerReader:
    """Reads one layer: first which tensors it has, then what their shapes say."""

    config: ConfigFigures
    index: int
    tensors: Shapes
    norms: tuple[str, ...]
    norms_of_heads: tuple[str, ...]

    def check_names(self) -> None:
        """Raise for tensors that are too many or too few."""
        self._refuse_strange_names()
        self._refuse_missing_names()

    def read(self, head_dim: int) -> LayerShapes:
        """Check every shape, then hand them on."""
        queries = self._query_heads_per_group(head_dim)
        self._refuse_norms_over_heads(head_dim)
        self._refuse_wrong_shapes()
        self._refuse_disagreement(head_dim)
        return LayerShapes(self.tensors, head_dim, queries)

    @property
    def _where(self) -> str:
        return f"{self.config.where}: layer {self.index}"

    def _is_empty(self, group_type: GroupType) -> bool:
        """Whether an earlier cut took the half: its weights are gone, and the config knows."""
        gone = not any(f"{name}.weight" in self.tensors for name in PROJECTIONS[group_type])
        return gone and group_type in self.config.emptied(self.index)

    def _refuse_strange_names(self) -> None:
        projections = [name for half in PROJECTIONS.values() for name in half]
        known = {f"{name}.{kind}" for name in projections for kind in ("weight", "bias")}
        strange = sorted(self.tensors.keys() - known - {*self.norms, *self.norms_of_heads})
        if strange:
            raise UnsupportedArchitecture(
                f"{self._where}: {', '.join(strange)}: not a tensor of this architecture; "
                "fused projections, experts and adapters can't be cut: give a plain model."
            )

    def _refuse_missing_names(self) -> None:
        needed = set(self.norms)
        for group_type, projections in PROJECTIONS.items():
            if not self._is_empty(group_type):
                needed |= {f"{name}.weight" for name in projections}
        if not self._is_empty("attention"):
            needed |= set(self.norms_of_heads)
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
        queries, keys = axis_size(self.tensors, "Q"), axis_size(self.tensors, "K")
        if not keys or queries % keys or keys % head_dim or not queries:
            raise UnsupportedArchitecture(
                f"{self._where}: q_proj {self.tensors['self_attn.q_proj.weight']} and "
                f"k_proj {self.tensors['self_attn.k_proj.weight']} don't divide into heads of "
                f"{head_dim} with equally many query heads to each key/value head; "
                "mend head_dim in config.json, or give another model."
            )
        return queries // keys

    def _refuse_norms_over_heads(self, head_dim: int) -> None:
        for name in self.norms_of_heads:
            shape = self.tensors.get(name, (head_dim,))
            if shape != (head_dim,):
                raise UnsupportedArchitecture(
                    f"{self._where}: {name} is {shape}, where one head has {head_dim}: a norm "
                    "that spans all heads changes when a head goes, so the cut would not be exact."
                )

    def _refuse_wrong_shapes(self) -> None:
        """Compare every tensor with what the named axes make of it."""
        sizes = {axis: axis_size(self.tensors, axis) for axis in _MEASURED_AT}
        sizes[MODEL_WIDTH] = self.config.need("hidden_size")
        expected: dict[str, tuple[int, ...]] = dict.fromkeys(self.norms, (sizes[MODEL_WIDTH],))
        for projections in PROJECTIONS.values():
            for name, (rows, columns) in projections.items():
                expected[f"{name}.weight"] = (sizes[rows], sizes[columns])
                expected[f"{name}.bias"] = (sizes[rows],)
        wrong = [
            f"{name} is {shape}, not {expected[name]}"
            for name, shape in self.tensors.items()
            if shape != expected.get(name, shape)
        ]
        if wrong:
            raise UnsupportedArchitecture(
                f"{self._where}: the shapes don't fit together: {'; '.join(wrong)}; "
                "give a checkpoint whose tensors and config belong together."
            )

    def _refuse_disagreement(self, head_dim: int) -> None:
        """The config must count the same heads and channels, or no loader can build the layer."""
        counted = {
            "num_attention_heads": ("Q", head_dim),
            "num_key_value_heads": ("K", head_dim),
            "intermediate_size": ("F", 1),
        }
        for key, (axis, size) in counted.items():
            said = self.config.find(key, self.index)
            found = axis_size(self.tensors, axis) // size
            if found and said is not None and found != said:
                raise CheckpointError(
                    f"{self._where}: {_MEASURED_AT[axis]}.weight makes {key} {found}, where "
                    f"config.json says {said}; use the config that belongs to the weights."
                )
