"""What was found out about a model type, as data: one record, independent of any model's size.

Sizes are products of config keys. An adapter is made from it, and nothing else reads the type.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal

from pydantic import Field

from globalprune.artifacts.records import Record
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import GatingModules
from globalprune.models.gated_decoder.adapter import GatedDecoder
from globalprune.models.gated_decoder.form import (
    HEAD_AXIS,
    HIDDEN_AXIS,
    LayerForm,
    LayerNorms,
    Projections,
)

FORMAT: Final = "globalprune.family/1"
_ONE: Final = "1"
_SCALAR_AXES: Final = ((), (_ONE,))  # of a tensor of one number
_AXES: Final = {  # the letters of `gated_decoder.form`
    "num_attention_heads*head_dim": "Q",
    "num_key_value_heads*head_dim": "K",
    "intermediate_size": "F",
    "hidden_size": HIDDEN_AXIS,
    "head_dim": HEAD_AXIS,
    _ONE: _ONE,
}
_MEASURED: Final = "QKF"
_MATRIX: Final = 2  # dimensions


class TensorDescription(Record):
    """One tensor: the sizes of the blocks of each dimension, and which of them groups divide."""

    blocks: tuple[tuple[str, ...], ...]
    # the dimension of which every group owns equal slices, block by block
    sliced: int | None = None


class GatingDescription(Record):
    """The input side of a gated MLP, by names below the layer."""

    linears: tuple[str, ...]
    activation: str


class SublayerDescription(Record):
    """The attention or the MLP; tensors and modules by their names below the layer."""

    output: str
    groups: str | None  # how many there are; None where it can't be cut
    tensors: dict[str, TensorDescription]
    norm_before: str | None = None
    norm_behind: str | None = None
    gating: GatingDescription | None = None
    refused: str | None = None  # why it can't be cut


class FamilyDescription(Record):
    """A model type that can be cut, or the reason why it can't."""

    format: Literal["globalprune.family/1"] = FORMAT
    model_type: str
    versions: dict[str, str] = Field(default={})
    seconds: float = 0.0  # that finding and proving it took
    refused: str | None = None
    attention: SublayerDescription | None = None
    mlp: SublayerDescription | None = None
    norm_biases: bool = False
    residual_scale: str | None = None
    final_norm_offset: float = 0.0

    @property
    def reason(self) -> str | None:
        """Why no part of it can be cut; None where a part can."""
        if self.refused is not None or self.attention is None or self.mlp is None:
            return self.refused or "nothing is known of it"
        reasons = [f"its {kind}: {own.refused}" for kind, own in self.sublayers() if own.refused]
        return "; ".join(reasons) if len(reasons) == len(GROUP_TYPES) else None

    def without(self, refused: Mapping[GroupType, str]) -> "FamilyDescription":
        """Return the description with sublayers that can't be cut, and why."""
        updates: dict[str, SublayerDescription] = {
            kind: own.model_copy(update={"refused": refused[kind]})
            for kind, own in self.sublayers()
            if kind in refused
        }
        return self.model_copy(update=updates)

    def sublayers(self) -> Iterator[tuple[GroupType, SublayerDescription]]:
        """Yield both sublayers; raise `UnsupportedArchitecture` for a type that is refused."""
        for group_type in GROUP_TYPES:
            sublayer = self.attention if group_type == "attention" else self.mlp
            if sublayer is None:
                raise UnsupportedArchitecture(self.refused or f"it has no {group_type}")
            yield group_type, sublayer


def adapter_of(description: FamilyDescription) -> GatedDecoder:
    """Return the adapter of a type; raise `UnsupportedArchitecture` for what it can't express."""
    sublayers = dict(description.sublayers())
    tensors = {n: t for own in sublayers.values() for n, t in own.tensors.items()}
    axes = {name: _axes(name, tensor) for name, tensor in tensors.items()}
    matrices = {n: own for n, own in axes.items() if len(own) == _MATRIX}
    gating = sublayers["mlp"].gating
    projections = Projections(
        {
            group_type: {
                name.removesuffix(".weight"): (matrices[name][0], matrices[name][1])
                for name in own.tensors
                if name in matrices
            }
            for group_type, own in sublayers.items()
        },
        {axis: _measured_at(axis, matrices) for axis in _MEASURED},
        None if gating is None else GatingModules(gating.linears, gating.activation),
    )
    _refuse_other_biases(axes)
    _refuse_other_outputs(projections, sublayers)
    vectors = {n: own for n, own in axes.items() if n not in matrices and ".bias" not in n}
    norms = {name: own[0] for name, own in vectors.items() if own not in _SCALAR_AXES}
    if inner := sorted(norms.keys() & sublayers["mlp"].tensors.keys()):
        raise UnsupportedArchitecture(f"its MLP has {', '.join(inner)} besides projections")
    form = LayerForm(
        projections=projections,
        norms=_norms(sublayers, biased=description.norm_biases),
        query_key_norms=norms,
        scalars={name: (1,) * len(own) for name, own in vectors.items() if name not in norms},
    )
    refused = {k: own.refused for k, own in sublayers.items() if own.refused is not None}
    return GatedDecoder(
        description.model_type,
        replace(form, refused={k: why for k, why in refused.items() if k not in form.fixed}),
        residual_scale=description.residual_scale,
        final_norm_offset=description.final_norm_offset,
        proved_with=description.versions,
    )


def _axes(name: str, tensor: TensorDescription) -> tuple[str, ...]:
    """Return the letters of each dimension's blocks."""
    sizes = [size for blocks in tensor.blocks for size in blocks]
    if unknown := sorted(set(sizes) - _AXES.keys()):
        raise UnsupportedArchitecture(f"{name} has a dimension of {', '.join(unknown)}")
    return tuple("".join(_AXES[size] for size in blocks) for blocks in tensor.blocks)


def _measured_at(axis: str, matrices: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    """Return the projection and the dimension that show an axis's length, best by itself."""
    places = [
        (name.removesuffix(".weight"), dim, blocks)
        for name, own in matrices.items()
        for dim, blocks in enumerate(own)
        if axis in blocks
    ]
    if not places:
        raise UnsupportedArchitecture(
            "its attention has no queries and keys, or its MLP no channels"
        )
    name, dim, _ = min(places, key=lambda place: len(place[2]))
    return name, dim


def _norms(sublayers: Mapping[GroupType, SublayerDescription], *, biased: bool) -> LayerNorms:
    return LayerNorms(
        {k: own.norm_before for k, own in sublayers.items() if own.norm_before is not None},
        {k: own.norm_behind for k, own in sublayers.items() if own.norm_behind is not None},
        biased,
    )


def _refuse_other_outputs(
    projections: Projections, sublayers: Mapping[GroupType, SublayerDescription]
) -> None:
    """Raise unless the output is the one projection of a sublayer whose rows are the stream's."""
    for group_type, own in sublayers.items():
        axes = projections.sublayers[group_type]
        names = [name for name, (rows, _) in axes.items() if rows == HIDDEN_AXIS]
        if names != [own.output]:
            raise UnsupportedArchitecture(
                f"several projections of its {group_type} have its width: {', '.join(names)}"
            )


def _refuse_other_biases(axes: Mapping[str, tuple[str, ...]]) -> None:
    """Raise for a bias that hasn't the rows of the weight beside it."""
    for name, own in axes.items():
        weight = axes.get(name.removesuffix("bias") + "weight", ())
        if name.endswith(".bias") and own[:1] != weight[:1]:
            raise UnsupportedArchitecture(f"{name} belongs to no projection")
