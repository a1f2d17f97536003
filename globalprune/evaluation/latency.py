"""gp measure: decoding times of models whose layers keep fewer groups."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

import torch
from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.evaluation import median_of_rounds, ratio_of_rounds
from globalprune.artifacts.evaluations.latency_table import MachineRecord, TimedPoint
from globalprune.artifacts.formatting import format_bytes, format_with_error
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import LayerCuts, ModelReference, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, LayerStructure, ModelStructure
from globalprune.errors import UsageError
from globalprune.evaluation.resources import describe_hardware, free_memory
from globalprune.evaluation.speed import rotated_order, seconds_per_token
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.configs.native_config import RawConfig
from globalprune.models.configs.pruned_config import prune_config
from globalprune.models.meta_model import (
    empty_model,
    place_in_storage,
    random_storage,
    refuse_class_mismatch,
    storage_elements,
)
from globalprune.models.placement import Placement, choose_placement, compute_dtype
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.options import MeasureOptions
from globalprune.progress import Progress, silent

_ALIGNED: Final = 64  # GPUs are slower at widths that are no multiple of it
_MARGIN: Final = 1.25  # beside weights and cache
_ERRORS: Final = 2  # standard errors within which a difference may be noise
_MILLISECONDS: Final = 1000
_PERCENT: Final = 100
DEFAULT_OPTIONS: Final = MeasureOptions()


class UniformWidths(NamedTuple):
    """The groups that every layer keeps."""

    attention: int
    mlp: int


@dataclass(frozen=True)
class LatencyModel:
    """The shape of the model to be measured; its weights are not read."""

    reference: ModelReference
    config: RawConfig
    structure: ModelStructure
    layer: LayerStructure  # all layers are like it
    dtype: torch.dtype  # that is measured in


def measure_latencies(
    model: str,
    options: MeasureOptions = DEFAULT_OPTIONS,
    *,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> MachineRecord:
    """Time the full model, and models that keep fewer groups of one kind, from none to all.

    Only the config and shapes of `model` are read. Every round times each point once; a round
    before them warms up. Raise `UsageError` for what can't be measured, before anything is.
    """
    options.check()
    placement = choose_placement(options.device, options.dtype)
    started = time.monotonic()
    subject = open_latency_model(model, options, placement)
    widths = widths_to_time(subject.layer, options.points)
    models = _build_models(subject, widths, placement.device)
    seconds = _time_in_rounds(models, options, progress)
    record = MachineRecord(
        model=subject.reference,
        layers=len(subject.structure.layers),
        device=placement.device,
        hardware=describe_hardware(placement.device),
        dtype=str(subject.dtype).removeprefix("torch."),
        batch_size=options.batch_size,
        context=options.context,
        tokens=options.tokens,
        points=tuple(
            TimedPoint(attention=kept.attention, mlp=kept.mlp, seconds_per_token=tuple(rounds))
            for kept, rounds in zip(widths, seconds, strict=True)
        ),
        versions=tool_versions(),
        seconds=time.monotonic() - started,
        command=tuple(command),
    )
    return record.model_copy(update={"warnings": warn_of_latencies(record)})


def open_latency_model(name: str, options: MeasureOptions, placement: Placement) -> LatencyModel:
    """Read config and shapes; raise `UsageError` where they can't be measured with the options."""
    checkpoint = open_checkpoint(resolve_model(name))
    structure = adapter_for(checkpoint.config).structure(checkpoint)
    refuse_class_mismatch(checkpoint)
    layer = _uniform_layer(structure, name)
    _refuse_long_context(options, checkpoint)
    reference = ModelReference(
        source=name, structure=structure.fingerprint, revision=checkpoint.source.revision
    )
    dtype = compute_dtype(placement, checkpoint)
    model = LatencyModel(reference, checkpoint.config, structure, layer, dtype)
    _refuse_small_memory(model, options, placement.device)
    return model


def widths_to_time(layer: LayerStructure, points: int) -> list[UniformWidths]:
    """The whole layer first, then fewer groups of one kind and all of the other, down to none."""
    whole = UniformWidths(layer.attention.groups, layer.mlp.groups)
    return [
        whole,
        *(whole._replace(attention=count) for count in spaced_counts(whole.attention, points)),
        *(whole._replace(mlp=count) for count in spaced_counts(whole.mlp, points)),
    ]


def spaced_counts(groups: int, points: int) -> list[int]:
    """`points` - 1 counts below `groups`, evenly spaced, falling to 0.

    All counts where there are fewer; multiples of 64 where there are enough, since GPUs are fast at
    these.
    """
    unit = _ALIGNED if groups >= _ALIGNED * points else 1
    spaced = {unit * round(index * groups / unit / (points - 1)) for index in range(points - 1)}
    return sorted(spaced - {groups}, reverse=True)


def build_empty_model(
    config: RawConfig, structure: ModelStructure, kept: UniformWidths, dtype: torch.dtype
) -> PreTrainedModel:
    """Build the class that a cut of every layer to `kept` is loaded as, on no memory."""
    cuts = [
        LayerCuts(
            attention=IndexSet.of(range(kept.attention, layer.attention.groups)),
            mlp=IndexSet.of(range(kept.mlp, layer.mlp.groups)),
        )
        for layer in structure.layers
    ]
    effect = effect_of(PrunePlan(layers=dict(enumerate(cuts))), structure)
    return empty_model(prune_config(config, structure, effect).config, dtype)


def warn_of_latencies(record: MachineRecord) -> tuple[str, ...]:
    """Warn where rounds differ more than points do, or where less of a model takes longer."""
    if len(record.full.seconds_per_token) == 1:
        return ("one round can't tell latency from noise; take more --rounds.",)
    noise = (_warn_of_noise(record, kind) for kind in GROUP_TYPES)
    return (*filter(None, noise), *_warn_of_slower_points(record))


def _uniform_layer(structure: ModelStructure, name: str) -> LayerStructure:
    """The layer that all are like; refuse layers that differ, or that lost a sublayer."""
    if structure.has_experts:
        raise UsageError(
            f"{name}: has experts, and no random model tells which of them a token meets; their "
            "latencies can't be measured."
        )
    layer = structure.layers[0]
    alike = all(
        other.model_copy(update={"window": layer.window}) == layer for other in structure.layers
    )
    if not alike or not layer.attention.groups or not layer.mlp.groups:
        raise UsageError(
            f"{name}: its layers differ or have lost a sublayer, and latencies are measured where "
            "layers are alike and whole; measure the model before it was cut."
        )
    return layer


def _refuse_long_context(options: MeasureOptions, checkpoint: Checkpoint) -> None:
    """Refuse tokens at positions that the model was not made for."""
    longest = checkpoint.config.get("max_position_embeddings")
    if not isinstance(longest, int) or options.positions <= longest:
        return
    most = longest - options.positions + options.context
    raise UsageError(
        f"--context {options.context}: {options.tokens} tokens behind it, and one to warm up, "
        f"pass the {longest:,} positions that {checkpoint.source.name} was made for; "
        + (f"name {most} or fewer." if most > 0 else "take fewer --tokens.")
    )


def _refuse_small_memory(model: LatencyModel, options: MeasureOptions, device: str) -> None:
    """Refuse a full model whose weights and cache memory doesn't hold, with a margin."""
    layer, structure = model.layer, model.structure
    cached = 2 * layer.attention.groups * layer.head_dim * len(structure.layers)
    numbers = structure.parameters + cached * options.positions * options.batch_size
    needed, free = round(_MARGIN * numbers * model.dtype.itemsize), free_memory(device)
    if needed > free:
        raise UsageError(
            f"--device {device}: {format_bytes(needed)} are needed and {format_bytes(free)} are "
            "free; take a smaller --dtype, --batch-size or --context, or another --device."
        )


def _build_models(
    subject: LatencyModel, widths: Sequence[UniformWidths], device: str
) -> list[PreTrainedModel]:
    """Build a model of every width; all share one block of random numbers."""
    models = [
        build_empty_model(subject.config, subject.structure, kept, subject.dtype) for kept in widths
    ]
    storage = random_storage(max(map(storage_elements, models)), subject.dtype, device)
    for model in models:
        place_in_storage(storage, model)
    return models


def _time_in_rounds(
    models: Sequence[PreTrainedModel], options: MeasureOptions, progress: Progress
) -> list[list[float]]:
    """The seconds a token of every model, one for each round; a round before them warms up."""
    seconds: list[list[float]] = [[] for _ in models]
    order = [
        (number, index)
        for number in range(options.rounds + 1)
        for index in rotated_order(number, len(models))
    ]
    for number, index in progress(order, total=len(order), label="timing", unit="turns"):
        measured = seconds_per_token(models[index], options)
        if number:
            seconds[index].append(measured)
    return seconds


def _warn_of_noise(record: MachineRecord, group_type: GroupType) -> str | None:
    """Warn if the median step from point to point is within the noise of the rounds.

    The mean step would hide it behind the one large step to none.
    """
    steps = [_step(less, more) for less, more in pairwise(record.points_of(group_type))]
    step, error = (_MILLISECONDS * median(column) for column in zip(*steps, strict=True))
    if step > _ERRORS * error:
        return None
    return (
        f"{group_type}: from one point to the next a token's time moves by {step:.3g} ms, and by "
        f"noise alone by {error:.3g} ms: don't trust these figures; let nothing else run here, "
        "take more --tokens and --rounds, or fewer --points."
    )


def _step(less: TimedPoint, more: TimedPoint) -> tuple[float, float]:
    """How much longer the second point takes, and the error of that, paired by round."""
    pairs = zip(less.seconds_per_token, more.seconds_per_token, strict=True)
    value, error = median_of_rounds([after - before for before, after in pairs])
    return value, error or 0.0


def _warn_of_slower_points(record: MachineRecord) -> Iterator[str]:
    """Yield a warning for every point that is slower than the full model, beyond noise."""
    for kind in GROUP_TYPES:
        for point in record.points_of(kind)[:-1]:
            ratio, error = ratio_of_rounds(point.seconds_per_token, record.full.seconds_per_token)
            if ratio - _ERRORS * (error or 0.0) > 1:
                figure = format_with_error(_PERCENT * ratio, _PERCENT * (error or 0.0))
                yield (
                    f"{kind}: keeping {point.kept(kind):,} of {record.full.kept(kind):,} takes "
                    f"{figure} % of the full model's time; such a shape doesn't suit this machine, "
                    "and counts as one that saves nothing."
                )
