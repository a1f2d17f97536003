"""The steps of surgery as values: keep, slice, convert, compensate, drop, renumber, write.

`--explain` prints the same list that the executor runs. No torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.results.compensation import CompensatedPart
from globalprune.artifacts.stored_weights import stored_bytes, written_dtype
from globalprune.artifacts.structure import GROUP_TYPES, GroupType


@dataclass(frozen=True)
class TensorFacts:
    """One tensor's shape, and its dtype by safetensors' name."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def parameters(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        return stored_bytes(self.parameters, self.dtype)


@dataclass(frozen=True)
class Axis:
    """Where a sublayer's groups lie in a tensor: in blocks of `dim`, one behind the other.

    Group `first + u` owns `width` slices of each, from u·width on, for every width of `widths`.
    """

    tensor: str  # below the layer: "self_attn.q_proj.weight"
    dim: int
    widths: tuple[int, ...]
    first: int = 0

    def groups(self, shape: Sequence[int]) -> int:
        """How many groups share a tensor of that shape."""
        return shape[self.dim] // sum(self.widths)


@dataclass(frozen=True)
class SublayerFacts:
    """The tensors of one sublayer of a layer, named below the layer."""

    axes: tuple[Axis, ...] = ()
    shared: tuple[str, ...] = ()  # they go with the last group: q/k norms
    gating: tuple[str, ...] = ()  # the weights of gate and up, where it has such; one if fused
    output: str | None = None  # the weight that brings what the groups make back to the stream
    output_bias: str | None = None  # belongs to no group; an emptied sublayer still adds it


@dataclass(frozen=True)
class LayerFacts:
    """Both sublayers of one layer."""

    attention: SublayerFacts
    mlp: SublayerFacts

    def sublayer(self, group_type: GroupType) -> SublayerFacts:
        """The sublayer of that kind."""
        return self.attention if group_type == "attention" else self.mlp


@dataclass(frozen=True)
class ModelFacts:
    """Every tensor of a checkpoint, each parameter once, and the layers they belong to."""

    tensors: Mapping[str, TensorFacts]
    prefixes: tuple[str, ...]  # of layer 0, 1, …: "model.layers.3."
    layers: tuple[LayerFacts, ...]
    final_norm: str  # the weight of the norm behind the last layer


@dataclass(frozen=True)
class KeepTensor:
    """Copy a tensor bit for bit, under its layer's new number."""

    layer: int | None  # as the original counts
    name: str
    becomes: str
    facts: TensorFacts


@dataclass(frozen=True)
class SliceTensor:
    """Copy a tensor without the slices of its removed groups."""

    layer: int
    name: str
    becomes: str
    dim: int
    kept: tuple[tuple[int, int], ...]  # half-open ranges of slices along dim, in order
    before: TensorFacts
    facts: TensorFacts


@dataclass(frozen=True)
class ConvertTensor:
    """Copy a whole tensor, its numbers rounded to another dtype."""

    layer: int | None
    name: str
    becomes: str
    before: TensorFacts
    facts: TensorFacts


@dataclass(frozen=True)
class SolveTensor:
    """Write a weight as compensation solved it, not as it was.

    `group_type` says of which sublayer of the layer it is, `part` which of what is solved there;
    `facts` is what is written.
    """

    layer: int
    group_type: GroupType
    part: CompensatedPart
    name: str
    becomes: str
    before: TensorFacts
    facts: TensorFacts


@dataclass(frozen=True)
class RefitTensor:
    """Write the final norm's weight as compensation refitted it."""

    name: str
    becomes: str
    facts: TensorFacts
    layer: None = None


@dataclass(frozen=True)
class DropTensor:
    """Leave a tensor out of the file."""

    layer: int
    name: str
    facts: TensorFacts


@dataclass(frozen=True)
class EmptySublayer:
    """A sublayer loses its last group; it still adds its output bias if it has one."""

    layer: int
    group_type: GroupType
    keeps: str | None


@dataclass(frozen=True)
class DropLayer:
    """Leave a whole layer out."""

    layer: int


@dataclass(frozen=True)
class RenumberLayer:
    """A layer moves up, because one before it was dropped."""

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
class CopyCompanion:
    """Copy a file that belongs to the model: tokenizer, generation config, licence."""

    name: str


@dataclass(frozen=True)
class WriteTokenizer:
    """Write the tokenizer that a GGUF file carries inside."""


WrittenTensor = KeepTensor | SliceTensor | ConvertTensor | SolveTensor | RefitTensor
TensorStep = WrittenTensor | DropTensor
LayerStep = TensorStep | EmptySublayer | DropLayer | RenumberLayer
FileStep = WriteConfig | CopyModelingFile | CopyCompanion | WriteTokenizer
Step = LayerStep | FileStep


def cutting_steps(facts: ModelFacts, effect: PlanEffect) -> tuple[Step, ...]:
    """What happens to every tensor: first those outside the layers, then layer by layer."""
    names: dict[int | None, list[str]] = {None: []}
    for name in facts.tensors:
        names.setdefault(_layer_of(name, facts.prefixes), []).append(name)
    steps: list[Step] = [KeepTensor(None, name, name, facts.tensors[name]) for name in names[None]]
    becomes = 0
    for layer in effect.layers:
        steps += _layer_steps(facts, layer, becomes, names.get(layer.layer_idx, ()))
        becomes += not layer.dropped
    return tuple(steps)


def converted(steps: Sequence[Step], save_dtype: str | None) -> tuple[Step, ...]:
    """The same steps, with every floating-point tensor written as `save_dtype`; None keeps all."""
    return tuple(_converted(step, save_dtype) for step in steps)


def _converted(step: Step, save_dtype: str | None) -> Step:
    """One step that writes another dtype, if it writes a tensor of another."""
    if not isinstance(step, WrittenTensor):
        return step
    facts = TensorFacts(step.facts.shape, written_dtype(step.facts.dtype, save_dtype))
    if facts == step.facts:
        return step
    if isinstance(step, KeepTensor):
        return ConvertTensor(step.layer, step.name, step.becomes, step.facts, facts)
    return replace(step, facts=facts)


def promised(steps: Sequence[Step]) -> dict[str, TensorFacts]:
    """Every tensor that the written file must hold, in the order in which it is written."""
    return {step.becomes: step.facts for step in steps if isinstance(step, WrittenTensor)}


def _layer_of(name: str, prefixes: Sequence[str]) -> int | None:
    """The layer that a tensor belongs to, if any."""
    found = (index for index, prefix in enumerate(prefixes) if name.startswith(prefix))
    return next(found, None)


def _layer_steps(
    facts: ModelFacts, layer: LayerEffect, becomes: int, names: Sequence[str]
) -> Iterator[Step]:
    """Yield what happens to one layer, and then to each of its tensors."""
    index = layer.layer_idx
    if layer.dropped:
        yield DropLayer(index)
        yield from (DropTensor(index, name, facts.tensors[name]) for name in names)
        return
    if becomes != index:
        yield RenumberLayer(index, becomes)
    old, new = facts.prefixes[index], facts.prefixes[becomes]
    cut: dict[str, DropTensor | SliceTensor] = {}
    for group_type in GROUP_TYPES:
        sublayer = facts.layers[index].sublayer(group_type)
        kept = layer.of(group_type)
        if sublayer.axes and not kept:
            keeps = old + sublayer.output_bias if sublayer.output_bias else None
            yield EmptySublayer(index, group_type, keeps)
        cut |= {
            step.name: step for step in _sublayer_steps(facts, sublayer, kept, (index, old, new))
        }
    for name in names:
        renamed = new + name.removeprefix(old)
        yield cut.get(name, KeepTensor(index, name, renamed, facts.tensors[name]))


def _sublayer_steps(
    facts: ModelFacts, sublayer: SublayerFacts, kept: IndexSet, place: tuple[int, str, str]
) -> Iterator[DropTensor | SliceTensor]:
    """Yield steps for a sublayer's tensors that lose something; `place`: index, old, new prefix."""
    index, old, new = place
    if not kept:
        for below in (*(axis.tensor for axis in sublayer.axes), *sublayer.shared):
            yield DropTensor(index, old + below, facts.tensors[old + below])
        return
    for axis in sublayer.axes:
        before = facts.tensors[old + axis.tensor]
        groups = axis.groups(before.shape)
        own = kept.within(axis.first, axis.first + groups)
        if not own:
            yield DropTensor(index, old + axis.tensor, before)
            continue
        ranges = _slices(own, axis.widths, groups)
        length = sum(stop - start for start, stop in ranges)
        if length == before.shape[axis.dim]:
            continue
        shape = (*before.shape[: axis.dim], length, *before.shape[axis.dim + 1 :])
        yield SliceTensor(
            index,
            old + axis.tensor,
            new + axis.tensor,
            axis.dim,
            ranges,
            before,
            TensorFacts(shape, before.dtype),
        )


def _slices(kept: IndexSet, widths: Sequence[int], groups: int) -> tuple[tuple[int, int], ...]:
    """Join kept groups, in order, into as few half-open ranges of slices as they make."""
    ranges: list[tuple[int, int]] = []
    begin = 0
    for width in widths:
        for first, last in kept.ranges:
            start = begin + first * width
            if ranges and ranges[-1][1] == start:
                start, _ = ranges.pop()
            ranges.append((start, begin + (last + 1) * width))
        begin += groups * width
    return tuple(ranges)


_Part = tuple[GroupType, CompensatedPart]
_GATING: Final[dict[int, tuple[CompensatedPart, ...]]] = {  # what so many tensors are
    0: (),
    1: ("gate_up",),
    2: ("gate", "up"),
}


def compensated(
    steps: Sequence[Step], facts: ModelFacts, effect: PlanEffect, *, gates: bool
) -> tuple[Step, ...]:
    """The same steps, with weights compensated in every sublayer at or behind the first cut.

    Those are output projections, and with `gates` also gate and up of MLPs. A sublayer that still
    sees the stream which it always saw, and lost nothing, stays bit for bit; so does the final norm
    where nothing is cut at all.
    """
    solved = dict(_solved(facts, effect, gates=gates))
    refitted = facts.final_norm if effect.removed else None
    return tuple(_changed(step, solved, refitted) for step in steps)


def _solved(facts: ModelFacts, effect: PlanEffect, *, gates: bool) -> Iterator[tuple[str, _Part]]:
    """Yield the weights that are solved, with the kind of their sublayer and their role."""
    begun = False
    for layer in effect.layers:
        prefix = facts.prefixes[layer.layer_idx]
        for group_type in GROUP_TYPES:
            sublayer = facts.layers[layer.layer_idx].sublayer(group_type)
            kept = layer.of(group_type)
            begun = begun or len(kept) < _groups(sublayer, facts, prefix)
            if begun and kept and sublayer.output is not None:
                yield prefix + sublayer.output, (group_type, "output")
                if gates:
                    for name, part in zip(
                        sublayer.gating, _GATING[len(sublayer.gating)], strict=True
                    ):
                        yield prefix + name, (group_type, part)


def _groups(sublayer: SublayerFacts, facts: ModelFacts, prefix: str) -> int:
    """How many groups a sublayer has."""
    parts = {
        axis.first: axis.groups(facts.tensors[prefix + axis.tensor].shape) for axis in sublayer.axes
    }
    return sum(parts.values())


def _changed(step: Step, solved: Mapping[str, _Part], refitted: str | None) -> Step:
    """The step that writes compensated weights, where there are such."""
    if not isinstance(step, KeepTensor | SliceTensor):
        return step
    if step.name == refitted:
        return RefitTensor(step.name, step.becomes, step.facts)
    part = solved.get(step.name)
    if part is None or step.layer is None:
        return step
    before = step.before if isinstance(step, SliceTensor) else step.facts
    return SolveTensor(step.layer, *part, step.name, step.becomes, before, step.facts)
