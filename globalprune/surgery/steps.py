"""The steps of surgery as values: keep, slice, convert, compensate, drop, renumber, write.

`--explain` prints the same list that the executor runs. No torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.results.cut import CompensatedPart
from globalprune.artifacts.stored_weights import written_dtype
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    LayerStructure,
    ModelStructure,
)
from globalprune.models.architecture import GroupAxis, ModelAdapter
from globalprune.models.checkpoints.checkpoint import TensorInfo

_GATING: Final[tuple[tuple[CompensatedPart, ...], ...]] = (  # by the number of linear modules
    (),
    ("gate_up",),
    ("gate", "up"),
)


@dataclass(frozen=True)
class KeepTensor:
    """Copy a tensor bit for bit, under its layer's new number."""

    layer: int | None  # in the model that is cut
    name: str
    becomes: str
    facts: TensorInfo


@dataclass(frozen=True)
class SliceTensor:
    """Copy a tensor without the slices of its removed groups."""

    layer: int
    name: str
    becomes: str
    dim: int
    kept: IndexSet  # slices along dim
    before: TensorInfo
    facts: TensorInfo


@dataclass(frozen=True)
class ConvertTensor:
    """Copy a whole tensor, its numbers rounded to another dtype."""

    layer: int | None
    name: str
    becomes: str
    before: TensorInfo
    facts: TensorInfo


@dataclass(frozen=True)
class CompensatedTensor:
    """Write a compensated weight of a sublayer; `facts` describe what is written."""

    layer: int
    group_type: GroupType
    part: CompensatedPart
    name: str
    becomes: str
    before: TensorInfo
    facts: TensorInfo


@dataclass(frozen=True)
class CompensatedFinalNorm:
    """Write the compensated weight of the final norm."""

    name: str
    becomes: str
    facts: TensorInfo
    layer: None = None


@dataclass(frozen=True)
class DropTensor:
    """Leave a tensor out of the file."""

    layer: int
    name: str
    facts: TensorInfo


@dataclass(frozen=True)
class EmptySublayer:
    """A sublayer loses its last group; its output bias `keeps` on being added, if it has one."""

    layer: int
    group_type: GroupType
    keeps: str | None


@dataclass(frozen=True)
class DropLayer:
    """Leave a whole layer out."""

    layer: int


@dataclass(frozen=True)
class RenumberLayer:
    """A layer moves up, because one before it is dropped."""

    layer: int
    becomes: int


@dataclass(frozen=True)
class WriteConfig:
    """Write config.json: as it was, with new sizes, or with the sizes of every layer and why."""

    changed: bool
    uneven: bool
    reason: str | None


@dataclass(frozen=True)
class CopyModelingFile:
    """Put the file beside the weights with which stock transformers opens uneven layers."""

    name: str


@dataclass(frozen=True)
class CopyAuxiliaryFile:
    """Copy a file that belongs to the model: tokenizer, generation config, licence."""

    name: str


@dataclass(frozen=True)
class WriteTokenizer:
    """Write the tokenizer that a GGUF file carries inside."""


WrittenTensor = KeepTensor | SliceTensor | ConvertTensor | CompensatedTensor | CompensatedFinalNorm
TensorStep = WrittenTensor | DropTensor
LayerStep = TensorStep | EmptySublayer | DropLayer | RenumberLayer
FileStep = WriteConfig | CopyModelingFile | CopyAuxiliaryFile | WriteTokenizer
Step = LayerStep | FileStep


def cutting_steps(
    tensors: Mapping[str, TensorInfo],
    adapter: ModelAdapter,
    structure: ModelStructure,
    effect: PlanEffect,
) -> tuple[Step, ...]:
    """Every step for a checkpoint's tensors: those outside the layers first, then each layer's.

    `tensors` holds each parameter once, by its name; every one of them gets exactly one step.
    """
    prefixes = [adapter.layer_prefix(index) for index in range(len(structure.layers))]
    names: dict[int | None, list[str]] = {None: []}
    for name in tensors:
        names.setdefault(_layer_of(name, prefixes), []).append(name)
    steps: list[Step] = [KeepTensor(None, name, name, tensors[name]) for name in names[None]]
    becomes = 0
    for layer in effect.layers:
        index = layer.layer_idx
        own = {name: tensors[name] for name in names.get(index, ())}
        if layer.dropped:
            steps.append(DropLayer(index))
            steps += (DropTensor(index, name, info) for name, info in own.items())
            continue
        if becomes != index:
            steps.append(RenumberLayer(index, becomes))
        prefix = prefixes[index], prefixes[becomes]
        steps += _layer_steps(own, adapter, structure.layers[index], layer, prefix)
        becomes += 1
    return tuple(steps)


def compensated_steps(
    steps: Sequence[Step],
    adapter: ModelAdapter,
    structure: ModelStructure,
    effect: PlanEffect,
    *,
    gates: bool,
) -> tuple[Step, ...]:
    """The same steps, but weights at or after the first cut are written compensated.

    Those are output projections, with `gates` also gate and up of MLPs, and the final norm where
    anything is cut. In front of the first cut the stream is the uncut model's, so sublayers there
    keep their bits.
    """
    parts = dict(_compensated_parts(adapter, structure, effect, gates=gates))
    norm = f"{adapter.final_norm}.weight" if effect.removed else None
    return tuple(_compensated_step(step, parts, norm) for step in steps)


def converted_steps(steps: Sequence[Step], save_dtype: str | None) -> tuple[Step, ...]:
    """The same steps, with floating-point tensors written as `save_dtype`; None converts nothing.

    `save_dtype` is a key of `SAVE_DTYPES`.
    """
    return tuple(_converted_step(step, save_dtype) for step in steps)


def promised_tensors(steps: Sequence[Step]) -> dict[str, TensorInfo]:
    """Every tensor that the written files must hold, in the order in which it is written."""
    return {step.becomes: step.facts for step in steps if isinstance(step, WrittenTensor)}


def _layer_of(name: str, prefixes: Sequence[str]) -> int | None:
    """The layer that a tensor belongs to, if any."""
    return next((index for index, prefix in enumerate(prefixes) if name.startswith(prefix)), None)


def _layer_steps(
    tensors: Mapping[str, TensorInfo],
    adapter: ModelAdapter,
    structure: LayerStructure,
    layer: LayerEffect,
    prefix: tuple[str, str],
) -> Iterator[Step]:
    """Yield the steps of a layer that stays; `prefix`: of its tensors' names, old and new."""
    old, new = prefix
    cut: dict[str, DropTensor | SliceTensor] = {}
    for group_type in GROUP_TYPES:
        kept = layer.of(group_type)
        axes = adapter.axes(structure, group_type)
        if kept:
            steps = _slicing_steps(tensors, axes, kept, layer.layer_idx, prefix)
        else:
            below = (
                *(axis.tensor for axis in axes),
                *adapter.shared_tensors(structure, group_type),
            )
            steps = _dropping_steps(tensors, below, layer.layer_idx, old)
        if axes and not kept:
            bias = f"{adapter.output_module(group_type)}.bias"
            keeps = old + bias if bias in structure.tensors else None
            yield EmptySublayer(layer.layer_idx, group_type, keeps)
        cut |= {step.name: step for step in steps}
    for name, info in tensors.items():
        renamed = new + name.removeprefix(old)
        yield cut.get(name, KeepTensor(layer.layer_idx, name, renamed, info))


def _dropping_steps(
    tensors: Mapping[str, TensorInfo], below: Iterable[str], layer: int, old: str
) -> Iterator[DropTensor]:
    """Yield a step for every tensor of a sublayer that loses its last group."""
    for name in below:
        yield DropTensor(layer, old + name, tensors[old + name])


def _slicing_steps(
    tensors: Mapping[str, TensorInfo],
    axes: Iterable[GroupAxis],
    kept: IndexSet,
    layer: int,
    prefix: tuple[str, str],
) -> Iterator[DropTensor | SliceTensor]:
    """Yield a step for every tensor of a sublayer that loses groups, and keeps others."""
    old, new = prefix
    for axis in axes:
        before = tensors[old + axis.tensor]
        slices = axis.slices(kept, before.shape)
        if not slices:  # an expert that loses its last channel
            yield DropTensor(layer, old + axis.tensor, before)
            continue
        if len(slices) == before.shape[axis.dim]:
            continue
        shape = (*before.shape[: axis.dim], len(slices), *before.shape[axis.dim + 1 :])
        yield SliceTensor(
            layer,
            old + axis.tensor,
            new + axis.tensor,
            axis.dim,
            slices,
            before,
            TensorInfo(shape, before.dtype),
        )


def _compensated_parts(
    adapter: ModelAdapter, structure: ModelStructure, effect: PlanEffect, *, gates: bool
) -> Iterator[tuple[str, tuple[GroupType, CompensatedPart]]]:
    """Yield the names of compensated weights, with the kind of their sublayer and their part."""
    begun = False
    for index, group_type, sublayer in structure.sublayers():
        kept = effect.layers[index].of(group_type)
        begun = begun or len(kept) < sublayer.groups
        if not begun or not kept or sublayer.experts:
            continue
        prefix = adapter.layer_prefix(index)
        yield f"{prefix}{adapter.output_module(group_type)}.weight", (group_type, "output")
        gating = adapter.gating(group_type) if gates else None
        linears = () if gating is None else gating.linears
        for linear, part in zip(linears, _GATING[len(linears)], strict=True):
            yield f"{prefix}{linear}.weight", (group_type, part)


def _compensated_step(
    step: Step, parts: Mapping[str, tuple[GroupType, CompensatedPart]], norm: str | None
) -> Step:
    """The step that writes a compensated weight, if the tensor is one."""
    if not isinstance(step, KeepTensor | SliceTensor):
        return step
    if step.name == norm:
        return CompensatedFinalNorm(step.name, step.becomes, step.facts)
    part = parts.get(step.name)
    if part is None or step.layer is None:
        return step
    before = step.before if isinstance(step, SliceTensor) else step.facts
    return CompensatedTensor(step.layer, *part, step.name, step.becomes, before, step.facts)


def _converted_step(step: Step, save_dtype: str | None) -> Step:
    """The step that writes another dtype, if the tensor has another one."""
    if not isinstance(step, WrittenTensor):
        return step
    info = TensorInfo(step.facts.shape, written_dtype(step.facts.dtype, save_dtype))
    if info == step.facts:
        return step
    if isinstance(step, KeepTensor):
        return ConvertTensor(step.layer, step.name, step.becomes, step.facts, info)
    return replace(step, facts=info)
