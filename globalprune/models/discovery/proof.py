"""The proof that a type is cut as its adapter says, on a small random model of its own class.

Cuts of all kinds take the slices that surgery takes, and are loaded into the class that reads
them. Each must compute what the whole model computes with the same groups masked, in float64, also
when it generates text. What fails is not served.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.configs.native_config import RawConfig
from globalprune.models.configs.pruned_config import prune_config
from globalprune.models.discovery.double_arithmetic import DoubleArithmetic
from globalprune.models.discovery.small_model import random_ids, random_model
from globalprune.models.meta_model import new_model
from globalprune.models.sources.source import ModelSource

TOLERANCE: Final = 1e-9  # of the largest logit
_SOURCE: Final = ModelSource("a small model", Path("small-model"))
_NEW_TOKENS: Final = 5
_PADDING: Final = 3  # tokens before the second prompt


@dataclass(frozen=True)
class ModelCheckpoint:
    """A model in memory, read as one that is stored."""

    config: RawConfig
    weights: Mapping[str, torch.Tensor]
    source: ModelSource = _SOURCE
    auxiliary_folder: Path | None = None

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """The shapes of its tensors."""
        return {name: TensorInfo(tuple(own.shape), "F64") for name, own in self.weights.items()}

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(own.numel() for own in self.weights.values())

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor."""
        return self.weights[name]


@dataclass(frozen=True, eq=False)
class Subject:
    """A small model with the adapter that is to be proved of it."""

    model: PreTrainedModel
    checkpoint: ModelCheckpoint
    adapter: ModelAdapter
    structure: ModelStructure


def subject_of(config: RawConfig, adapter: ModelAdapter) -> Subject:
    """Build the model of a small config and read its structure through the adapter.

    Raise `UnsupportedArchitecture` where its checkpoints have other names than its modules, or
    where costs don't add up to its parameters.
    """
    model = random_model(config, seed=1)
    weights = _stored(model)
    if revert_weight_conversion(model, dict(weights)).keys() != weights.keys():
        raise UnsupportedArchitecture("its checkpoints name tensors otherwise than its class does")
    checkpoint = ModelCheckpoint(config, weights)
    structure = adapter.structure(checkpoint)
    _refuse_other_costs(checkpoint, adapter, structure)
    return Subject(model, checkpoint, adapter, structure)


def prove(subject: Subject, kinds: Sequence[GroupType]) -> None:
    """Prove cuts of these kinds of sublayers, together.

    Raise `UnsupportedArchitecture` for the first that fails, with what is wrong.
    """
    structure = subject.structure
    _prove_cut(subject, _effect(structure, kinds, _halved))
    _prove_cut(subject, _effect(structure, kinds, _uneven))
    if _may_drop(structure) and len(kinds) == len(GROUP_TYPES):
        _prove_cut(subject, _effect(structure, kinds, _halved, dropped=(1,)))


def _prove_cut(subject: Subject, effect: PlanEffect) -> None:
    """Cut the model, load the result, and compare it with the masked model."""
    config = subject.checkpoint.config
    edit = prune_config(config, subject.structure, effect)
    cut = new_model(edit.config, attention="eager").double().eval()
    tensors = _cut_tensors(subject, effect)
    _load(cut, tensors)
    _refuse_other_size(subject, effect, cut)
    ids = random_ids(config["vocab_size"], batch=2, length=12, seed=5)
    with _masked(subject, effect), DoubleArithmetic():
        expected = _logits(subject.model, ids)
        generated = _generated(subject.model, ids)
    with DoubleArithmetic():
        how = "in its own class" if not edit.uneven else "with layers of different sizes"
        _compare(_logits(cut, ids), expected, f"a cut {how} differs from the masked model")
        _compare(
            _generated(cut, ids),
            generated,
            f"a cut {how} generates otherwise than the masked model",
        )
        _refuse_lost_gradients(cut, ids)


def _halved(layer: int, groups: int, kind: GroupType) -> Sequence[int]:
    """Keep half of the groups, other ones in every layer."""
    seed = 2 * layer + GROUP_TYPES.index(kind)
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(seed))
    return sorted(order[: max(1, groups // 2)].tolist())


def _uneven(layer: int, groups: int, kind: GroupType) -> Sequence[int]:
    """Empty the attention of the first layer and the MLP of the second; others lose some."""
    if layer == GROUP_TYPES.index(kind):
        return ()
    return _halved(layer, groups, kind) if layer % 2 else range(groups - 1)


def _effect(
    structure: ModelStructure, kinds: Sequence[GroupType], keep: Any, dropped: Sequence[int] = ()
) -> PlanEffect:
    """Say what every layer keeps; kinds that aren't proved stay whole."""
    layers = []
    for index, layer in enumerate(structure.layers):
        kept = {
            kind: IndexSet.of(
                ()
                if index in dropped
                else keep(index, layer.sublayer(kind).groups, kind)
                if kind in kinds
                else range(layer.sublayer(kind).groups)
            )
            for kind in GROUP_TYPES
        }
        layers.append(LayerEffect(index, kept["attention"], kept["mlp"], index in dropped))
    return PlanEffect(tuple(layers), removed_groups={}, removed=0, on_top=0, parameters_before=1)


def _may_drop(structure: ModelStructure) -> bool:
    """Whether an empty layer adds nothing, so that it can go."""
    return not any(layer.attention.kept or layer.mlp.kept for layer in structure.layers)


def _cut_tensors(subject: Subject, effect: PlanEffect) -> dict[str, torch.Tensor]:
    """Slice every tensor as the adapter says, and number the layers anew."""
    adapter, tensors = subject.adapter, dict(subject.checkpoint.weights)
    for index, layer in enumerate(subject.structure.layers):
        prefix = adapter.layer_prefix(index)
        own = {n.removeprefix(prefix): tensors.pop(n) for n in [*tensors] if n.startswith(prefix)}
        if effect.layers[index].dropped:
            continue
        for kind in GROUP_TYPES:
            kept, axes = effect.layers[index].of(kind), adapter.axes(layer, kind)
            if not kept:
                gone = {*(axis.tensor for axis in axes), *adapter.shared_tensors(layer, kind)}
                own = {name: tensor for name, tensor in own.items() if name not in gone}
                continue
            for axis in axes:
                slices = axis.slices(kept, layer.tensors[axis.tensor]).to_array()
                own[axis.tensor] = own[axis.tensor].index_select(axis.dim, torch.from_numpy(slices))
        number = [one.layer_idx for one in effect.kept_layers].index(index)
        tensors |= {adapter.layer_prefix(number) + n: tensor for n, tensor in own.items()}
    return tensors


def _load(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Fill a cut model; raise unless every tensor fits and none is missing."""
    expected = {name: tuple(own.shape) for name, own in _stored(model).items()}
    for name in sorted(expected.keys() | tensors.keys()):
        shape = tuple(tensors[name].shape) if name in tensors else None
        if shape != expected.get(name):
            raise UnsupportedArchitecture(
                f"in a small model its class wants {name} to be {_shown(expected.get(name))}, and "
                f"a cut makes it {_shown(shape)}"
            )
    model.load_state_dict(dict(tensors), strict=False)  # of tied tensors it holds one
    model.tie_weights()


def _stored(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return what a checkpoint holds of a model: of tied tensors one."""
    tied = set(model.all_tied_weights_keys)
    return {name: own for name, own in model.state_dict().items() if name not in tied}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))


def _refuse_other_costs(
    checkpoint: ModelCheckpoint, adapter: ModelAdapter, structure: ModelStructure
) -> None:
    """Raise unless costs, shared tensors, biases and norms are all parameters of the layers."""
    for index, layer in enumerate(structure.layers):
        prefix = adapter.layer_prefix(index)
        stored = sum(t.numel() for n, t in checkpoint.weights.items() if n.startswith(prefix))
        counted = layer.norms + sum(
            one.prunable + one.shared + one.kept for one in (layer.attention, layer.mlp)
        )
        if stored != counted:
            raise UnsupportedArchitecture(
                f"layer {index} has {stored:,} parameters where its groups make {counted:,}"
            )


def _refuse_other_size(subject: Subject, effect: PlanEffect, cut: PreTrainedModel) -> None:
    """Raise unless the cut model lost exactly the costs of its groups and what goes with them."""
    removed = 0
    for layer, after in zip(subject.structure.layers, effect.layers, strict=True):
        removed += layer.norms if after.dropped else 0
        for kind in GROUP_TYPES:
            own, kept = layer.sublayer(kind), len(after.of(kind))
            removed += (own.groups - kept) * own.cost + (0 if kept else own.shared)
    before, now = (
        sum(own.numel() for own in _stored(one).values()) for one in (subject.model, cut)
    )
    if before - removed != now:
        raise UnsupportedArchitecture(
            f"a cut has {now:,} parameters where costs promise {before - removed:,}"
        )


@contextmanager
def _masked(subject: Subject, effect: PlanEffect) -> Iterator[None]:
    """While inside, the groups that go add nothing: their columns of the output weights are 0."""
    weights = []
    for index, layer in enumerate(subject.structure.layers):
        for kind in GROUP_TYPES:
            name = f"{subject.adapter.output_module(kind)}.weight"
            weight = subject.model.get_parameter(subject.adapter.layer_prefix(index) + name)
            groups = layer.sublayer(kind).groups
            removed = torch.ones(groups, dtype=torch.bool)
            removed[torch.from_numpy(effect.layers[index].of(kind).to_array())] = False
            columns = removed.repeat_interleave(weight.shape[1] // groups)
            weights.append((weight, weight.detach().clone()))
            weight.data[:, columns] = 0
    try:
        yield
    finally:
        for weight, kept in weights:
            weight.data.copy_(kept)


@torch.no_grad()
def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


@torch.no_grad()
def _generated(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits of greedy generation with a cache, one prompt padded on its left."""
    mask = torch.ones_like(ids)
    mask[1, :_PADDING] = 0
    generated: Any = model.generate(  # type: ignore[operator]
        input_ids=ids.masked_fill(mask == 0, 0),
        attention_mask=mask,
        max_new_tokens=_NEW_TOKENS,
        do_sample=False,
        use_cache=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return torch.stack(generated.logits)


def _compare(logits: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Raise unless two models' logits are equal but for rounding."""
    if logits.shape != expected.shape:
        raise UnsupportedArchitecture(what)
    error = float((logits - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE:
        raise UnsupportedArchitecture(f"{what} (by {error:.0e} of the largest logit)")


def _refuse_lost_gradients(model: PreTrainedModel, ids: torch.Tensor) -> None:
    """Raise unless a backward pass gives finite gradients."""
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = [own.grad for own in model.parameters() if own.grad is not None]
    if not gradients or not all(bool(own.isfinite().all()) for own in gradients):
        raise UnsupportedArchitecture("a cut has no finite gradients")
