"""Finds out how a model type is cut, from its class and its config alone.

Two small random models of the class are run and looked at; what both show is written down in
config keys. Nothing here is sure before `proof` has tried it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import GatingModules
from globalprune.models.configs.class_config import class_config
from globalprune.models.configs.native_config import RawConfig
from globalprune.models.discovery.description import (
    FamilyDescription,
    GatingDescription,
    SublayerDescription,
    TensorDescription,
)
from globalprune.models.discovery.double_arithmetic import DoubleArithmetic
from globalprune.models.discovery.groups import (
    SublayerGroups,
    find_gating,
    find_groups,
    run_linears,
)
from globalprune.models.discovery.layer_run import (
    BODIES,
    Composition,
    LayerRun,
    composition_of,
    find_layers,
    first_tensor,
    run_layers,
    same,
)
from globalprune.models.discovery.sizes import SmallSizes, fitted
from globalprune.models.discovery.small_model import random_ids, random_model, small_config
from globalprune.models.meta_model import empty_model

_FINAL_NORM: Final = "model.norm"
_OFFSETS: Final = (0.0, 1.0)  # of norms whose weights are stored as they are, or less one
_OF_CUT_MODELS: Final = ("per_layer_config", "auto_map")
_HIDDEN: Final = "hidden_size"

_Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class SublayerFacts:
    """What one small model shows of a sublayer; names below the body."""

    output: str
    groups: SublayerGroups | None
    refused: str | None
    gating: GatingModules | None
    shapes: _Shapes


@dataclass(frozen=True)
class ModelFacts:
    """What one small model shows: all its layers are alike in it."""

    sizes: SmallSizes
    composition: Composition
    norms: _Shapes
    sublayers: Mapping[GroupType, SublayerFacts]
    final_norm_offset: float


def discover(config: RawConfig, all_sizes: Sequence[SmallSizes]) -> FamilyDescription:
    """Describe the type of a raw config.json from small models of these sizes.

    Raise `UnsupportedArchitecture` with the reason for a type that can't be described.
    """
    facts = [_facts(config, sizes) for sizes in all_sizes]
    first = facts[0]
    if any(own.composition != first.composition for own in facts):
        raise UnsupportedArchitecture("its norms stand elsewhere in models of another size")
    attention, mlp = (_sublayer(kind, facts) for kind in GROUP_TYPES)
    return FamilyDescription(
        model_type=config["model_type"],
        attention=attention,
        mlp=mlp,
        norm_biases=any(name.endswith(".bias") for name in first.norms),
        residual_scale=first.composition.residual_scale,
        final_norm_offset=first.final_norm_offset,
    )


def refuse_other_model(config: RawConfig) -> None:
    """Raise `UnsupportedArchitecture` for what is no causal language model of text alone.

    Its layers are looked at in the model's own size, without weights.
    """
    class_config(config)  # raises for a type that transformers doesn't know, or one without a mask
    if isinstance(config.get("text_config"), dict):
        raise UnsupportedArchitecture(
            "it wraps a language model (text_config) together with other parts"
        )
    if config["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnsupportedArchitecture("transformers has no causal language model of it")
    own = CONFIG_MAPPING[config["model_type"]]
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING[own]
    if model.config_class is not own:
        raise UnsupportedArchitecture(
            f"transformers builds its models by {model.__name__}, which belongs to another type"
        )
    stock = {key: value for key, value in config.items() if key not in _OF_CUT_MODELS}
    layers = find_layers(empty_model(stock))
    kinds = {frozenset(layer.state_dict()): index for index, layer in enumerate(layers)}
    if len(kinds) > 1:
        numbers = " and ".join(map(str, kinds.values()))
        raise UnsupportedArchitecture(f"its layers {numbers} have different tensors")


def _facts(config: RawConfig, sizes: SmallSizes) -> ModelFacts:
    """Build a small model and look at all of its layers."""
    with DoubleArithmetic():
        model = random_model(small_config(config, sizes), seed=0)
        runs = run_layers(model, random_ids(sizes.vocab_size))
        compositions = [composition_of(run) for run in runs]
        offset = _final_norm_offset(model)
        every = [
            _layer_facts(run, composition, sizes, offset)
            for run, composition in zip(runs, compositions, strict=True)
        ]
    for index, own in enumerate(every):
        if own != every[0]:
            raise UnsupportedArchitecture(f"its layers 0 and {index} are built differently")
    return every[0]


def _layer_facts(
    run: LayerRun, composition: Composition, sizes: SmallSizes, offset: float
) -> ModelFacts:
    """Find the groups of both sublayers; raise for a layer that has more than these and norms."""
    shapes = _shapes(run.layer.module)
    around = {*composition.before.values(), *composition.behind.values()}
    norms = {n: shape for n, shape in shapes.items() if n.rpartition(".")[0] in around}
    bodies = tuple(f"{name}." for name in BODIES.values())
    if others := sorted(n for n in shapes if n not in norms and not n.startswith(bodies)):
        raise UnsupportedArchitecture(f"its layers have {', '.join(others)} besides")
    if any(shape != (sizes.hidden_size,) for shape in norms.values()):
        raise UnsupportedArchitecture("a norm of its layers is no vector of the hidden size")
    sublayers = {kind: _sublayer_facts(run, kind) for kind in GROUP_TYPES}
    return ModelFacts(sizes, composition, norms, sublayers, offset)


def _sublayer_facts(run: LayerRun, kind: GroupType) -> SublayerFacts:
    """Find the groups of a sublayer, or why it has none."""
    body = run.body(kind)
    shapes = _shapes(body.module)
    try:
        groups = find_groups(body)
    except UnsupportedArchitecture as error:
        return SublayerFacts(run_linears(body)[0].name, None, str(error), None, shapes)
    gating = find_gating(body) if kind == "mlp" else None
    return SublayerFacts(groups.output, groups, None, gating, shapes)


def _shapes(module: nn.Module) -> _Shapes:
    """Return the shape of everything that a checkpoint holds of a module."""
    return {name: tuple(one.shape) for name, one in module.state_dict().items()}


def _sublayer(kind: GroupType, facts: Sequence[ModelFacts]) -> SublayerDescription:
    """Describe a sublayer by what all small models show of it."""
    own = [one.sublayers[kind] for one in facts]
    first, composition = own[0], facts[0].composition
    below = f"{BODIES[kind]}."
    sizes = [asdict(one.sizes) for one in facts]
    slices = [one.groups.slices if one.groups else {} for one in own]
    if (
        any(one.output != first.output or one.gating != first.gating for one in own)
        or any(one.shapes.keys() != first.shapes.keys() for one in own)
        or any(names.keys() != slices[0].keys() for names in slices)
    ):
        raise UnsupportedArchitecture(f"its {kind} is built differently at another size")
    counts = [one.groups.count for one in own if one.groups]
    return SublayerDescription(
        output=below + first.output,
        groups=fitted(counts, sizes, (_HIDDEN,)) if counts else None,
        tensors={
            below + name: _tensor(name, [one.shapes[name] for one in own], own, sizes)
            for name in first.shapes
        },
        norm_before=composition.before.get(kind),
        norm_behind=composition.behind.get(kind),
        gating=_gating(below, first.gating),
        refused=first.refused,
    )


def _tensor(
    name: str,
    shapes: Sequence[tuple[int, ...]],
    facts: Sequence[SublayerFacts],
    sizes: Sequence[Mapping[str, int]],
) -> TensorDescription:
    """Write a tensor's dimensions in config keys, those that groups divide block by block."""
    groups = [one.groups for one in facts]
    slices = [own.slices.get(name) for own in groups if own is not None]
    sliced = slices[0].dim if slices and slices[0] is not None else None
    blocks: list[tuple[str, ...]] = []
    for dim in range(len(shapes[0])):
        if dim != sliced:
            blocks.append((fitted([shape[dim] for shape in shapes], sizes),))
            continue
        widths = [one.widths for one in slices if one is not None]
        counts = [own.count for own in groups if own is not None]
        by_block = zip(*widths, strict=True)
        blocks.append(
            tuple(
                fitted([w * n for w, n in zip(own, counts, strict=True)], sizes, (_HIDDEN,))
                for own in by_block
            )
        )
    return TensorDescription(blocks=tuple(blocks), sliced=sliced)


def _gating(below: str, gating: GatingModules | None) -> GatingDescription | None:
    if gating is None:
        return None
    linears = tuple(below + name for name in gating.linears)
    return GatingDescription(linears=linears, activation=below + gating.activation)


@torch.no_grad()
def _final_norm_offset(model: PreTrainedModel) -> float:
    """Return the offset for which the final norm is proportional to weight + offset.

    Raise `UnsupportedArchitecture` where the head reads something else than that norm.
    """
    head: Any = model.get_output_embeddings()
    norm = dict(model.named_modules()).get(_FINAL_NORM)
    if norm is None or not isinstance(head, nn.Linear):
        raise UnsupportedArchitecture(f"it has no {_FINAL_NORM} in front of a linear head")
    passed: list[tuple[torch.Tensor, torch.Tensor]] = []
    entering: list[torch.Tensor] = []
    handles = [
        norm.register_forward_hook(
            lambda _module, args, output: passed.append((args[0], first_tensor(output)))
        ),
        head.register_forward_pre_hook(lambda _module, args: entering.append(args[0])),
    ]
    model(input_ids=random_ids(model.config.vocab_size), use_cache=False)
    for handle in handles:
        handle.remove()
    if not passed or not entering or entering[0].shape != passed[0][1].shape:
        raise UnsupportedArchitecture(f"its head doesn't read {_FINAL_NORM}")
    weight: Any = getattr(norm, "weight", None)
    if weight is None:
        raise UnsupportedArchitecture(f"{_FINAL_NORM} has no weight")
    kept, bias = weight.clone(), getattr(norm, "bias", None)
    try:
        for offset in _OFFSETS:
            weight.fill_(-offset)
            constant = norm(passed[0][0])
            silent = torch.zeros_like(constant) if bias is None else bias.expand_as(constant)
            if same(constant, silent):
                return offset
    finally:
        weight.copy_(kept)
    raise UnsupportedArchitecture(f"{_FINAL_NORM} is not proportional to its weight")
