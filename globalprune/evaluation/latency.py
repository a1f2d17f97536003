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
from globalprune.artifacts.evaluations.latency import MachineRecord, TimedPoint
from globalprune.artifacts.formatting import format_bytes, format_with_error
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import LayerCuts, ModelReference, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, LayerStructure, ModelStructure
from globalprune.errors import UsageError
from globalprune.evaluation.resources import describe_hardware, free_memory
from globalprune.evaluation.speed import Decoding, rotated_order, seconds_per_token
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.configs.pruned_config import RawConfig, prune_config
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
from globalprune.progress import Progress, silent

_ALIGNED: Final = 64  # GPUs are slower at widths that are no such multiple


class LayerWidths(NamedTuple):
    """The groups that every layer keeps."""

    attention: int
    mlp: int


def widths_to_time(layer: LayerStructure, points: int) -> list[LayerWidths]:
    """The whole layer first, then fewer of one kind and all of the other, down to none."""
    whole = LayerWidths(layer.attention.groups, layer.mlp.groups)
    return [
        whole,
        *(whole._replace(attention=count) for count in spaced_counts(whole.attention, points)),
        *(whole._replace(mlp=count) for count in spaced_counts(whole.mlp, points)),
    ]


def spaced_counts(groups: int, points: int) -> list[int]:
    """Counts below `groups`, evenly spaced, falling to none; with it they are `points`.

    All of them where there are fewer; where there are many, such as GPUs are fast at.
    """
    unit = _ALIGNED if groups >= _ALIGNED * points else 1
    spaced = {unit * round(place * groups / unit / (points - 1)) for place in range(points - 1)}
    return sorted(spaced - {groups}, reverse=True)


def build_empty_model(
    config: RawConfig, structure: ModelStructure, kept: LayerWidths, dtype: torch.dtype
) -> PreTrainedModel:
    """The class that a cut of every layer to `kept` would be loaded as, on no memory."""
    cuts = [
        LayerCuts(
            attention=IndexSet.of(range(kept.attention, layer.attention.groups)),
            mlp=IndexSet.of(range(kept.mlp, layer.mlp.groups)),
        )
        for layer in structure.layers
    ]
    effect = effect_of(PrunePlan(layers=dict(enumerate(cuts))), structure)
    return empty_model(prune_config(config, structure, effect).config, dtype)


_MARGIN: Final = 1.25  # what lies beside weights and cache
_FEWEST_POINTS: Final = 2  # none, and all


@dataclass(frozen=True)
class LatencyModel:
    """A model by its shape, without its weights."""

    reference: ModelReference
    config: RawConfig
    structure: ModelStructure
    layer: LayerStructure  # that all are like
    dtype: torch.dtype  # to be measured in


def open_latency_model(name: str, decoding: Decoding, placement: Placement) -> LatencyModel:
    """Read config and shapes; raise `UsageError` where they can't be measured in that way."""
    checkpoint = open_checkpoint(resolve_model(name))
    structure = adapter_for(checkpoint.config).structure(checkpoint)
    refuse_class_mismatch(checkpoint)
    layer = _the_one_layer(structure, name)
    _refuse_long_context(decoding, checkpoint)
    reference = ModelReference(
        source=name, structure=structure.fingerprint, revision=checkpoint.source.revision
    )
    dtype = compute_dtype(placement, checkpoint)
    subject = LatencyModel(reference, checkpoint.config, structure, layer, dtype)
    _refuse_small_memory(subject, decoding, placement.device)
    return subject


def refuse_small_numbers(decoding: Decoding, points: int, rounds: int) -> None:
    """Raise `UsageError` for numbers that can't be meant."""
    least = {
        "--batch-size": (decoding.batch_size, 1),
        "--context": (decoding.context, 1),
        "--tokens": (decoding.tokens, 1),
        "--points": (points, _FEWEST_POINTS),
        "--rounds": (rounds, 1),
    }
    for option, (value, minimum) in least.items():
        if value < minimum:
            raise UsageError(f"{option} {value}: must be at least {minimum}.")


def _the_one_layer(structure: ModelStructure, name: str) -> LayerStructure:
    """The layer that all are like; refuse ones that differ, or that lost a sublayer."""
    if structure.has_experts:
        raise UsageError(
            f"{name}: has experts, and which of them a token meets no random model tells; their "
            "latencies can't be measured."
        )
    layer = structure.layers[0]
    alike = all(
        other.model_copy(update={"window": layer.window}) == layer for other in structure.layers
    )
    if not alike or not layer.attention.groups or not layer.mlp.groups:
        raise UsageError(
            f"{name}: its layers differ or have lost a sublayer, and latencies are measured where "
            "are alike and whole; measure the model before it was cut."
        )
    return layer


def _refuse_long_context(decoding: Decoding, checkpoint: Checkpoint) -> None:
    """Refuse tokens that stand where the model was never meant to get."""
    longest = checkpoint.config.get("max_position_embeddings")
    if not isinstance(longest, int) or decoding.positions <= longest:
        return
    most = longest - decoding.positions + decoding.context
    raise UsageError(
        f"--context {decoding.context}: {decoding.tokens} tokens behind it, and one to warm up, "
        f"pass the {longest:,} positions that {checkpoint.source.name} was made for; "
        + (f"name {most} or fewer." if most > 0 else "take fewer --tokens.")
    )


def _refuse_small_memory(subject: LatencyModel, decoding: Decoding, device: str) -> None:
    """Refuse what memory doesn't hold: the full model's weights and cache, with a margin."""
    layer, structure = subject.layer, subject.structure
    cached = 2 * layer.attention.groups * layer.head_dim * len(structure.layers)
    numbers = structure.parameters + cached * decoding.positions * decoding.batch_size
    needed, free = round(_MARGIN * numbers * subject.dtype.itemsize), free_memory(device)
    if needed > free:
        raise UsageError(
            f"--device {device}: {format_bytes(needed)} are needed and {format_bytes(free)} are "
            "free; take a smaller --dtype, --batch-size or --context, or another --device."
        )


_ERRORS: Final = 2  # standard errors within which a difference may be nothing
_MILLISECONDS: Final = 1000
_PERCENT: Final = 100


def warn_of_latencies(record: MachineRecord) -> tuple[str, ...]:
    """Say so where rounds differ more than points do, or where less of a model takes longer."""
    if len(record.full.seconds_per_token) == 1:
        return ("one round can't tell latency from noise; take more --rounds.",)
    noise = (_noise(record, kind) for kind in GROUP_TYPES)
    return (*filter(None, noise), *_slower_than_full(record))


def _noise(record: MachineRecord, group_type: GroupType) -> str | None:
    """Whether a kind's typical step from point to point is lost in what rounds differ by.

    The mean would hide it behind the one large step to none.
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
    """How much longer the second takes, and the error of that; both ran in every round."""
    pairs = zip(less.seconds_per_token, more.seconds_per_token, strict=True)
    value, error = median_of_rounds([theirs - ours for ours, theirs in pairs])
    return value, error or 0.0


def _slower_than_full(record: MachineRecord) -> Iterator[str]:
    """Points that take longer than the full model beyond doubt."""
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


def measure_latencies(
    model: str,
    *,
    batch_size: int = 1,
    context: int = 2048,
    tokens: int = 16,
    points: int = 5,
    rounds: int = 3,
    device: str | None = None,
    dtype: str | None = None,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> MachineRecord:
    """Time the full model, and ones that keep `points` counts of each kind, from none to all.

    Of `model` only config and shapes are read. Each of `rounds` rounds times every point once, over
    `tokens` tokens for each of `batch_size` sequences, behind `context` others; a round before them
    warms up. Raise `UsageError` for what can't be measured, before anything is.
    """
    decoding = Decoding(batch_size, context, tokens)
    refuse_small_numbers(decoding, points, rounds)
    placement = choose_placement(device, dtype)
    started = time.monotonic()
    subject = open_latency_model(model, decoding, placement)
    shapes = widths_to_time(subject.layer, points)
    models = _build_models(subject, shapes, placement.device)
    seconds = _time_in_rounds(models, decoding, rounds, progress)
    record = MachineRecord(
        model=subject.reference,
        layers=len(subject.structure.layers),
        device=placement.device,
        hardware=describe_hardware(placement.device),
        dtype=str(subject.dtype).removeprefix("torch."),
        batch_size=batch_size,
        context=context,
        tokens=tokens,
        points=tuple(
            TimedPoint(attention=kept.attention, mlp=kept.mlp, seconds_per_token=tuple(found))
            for kept, found in zip(shapes, seconds, strict=True)
        ),
        versions=tool_versions(),
        seconds=time.monotonic() - started,
        command=tuple(command),
    )
    return record.model_copy(update={"warnings": warn_of_latencies(record)})


def _build_models(
    subject: LatencyModel, shapes: Sequence[LayerWidths], device: str
) -> list[PreTrainedModel]:
    """A model of every shape, all in one block of numbers."""
    models = [
        build_empty_model(subject.config, subject.structure, kept, subject.dtype) for kept in shapes
    ]
    block = random_storage(max(map(storage_elements, models)), subject.dtype, device)
    for model in models:
        place_in_storage(block, model)
    return models


def _time_in_rounds(
    models: Sequence[PreTrainedModel], decoding: Decoding, rounds: int, progress: Progress
) -> list[list[float]]:
    """Seconds a token of every model, one for each round that counts."""
    seconds: list[list[float]] = [[] for _ in models]
    turns = [
        (number, index)
        for number in range(rounds + 1)
        for index in rotated_order(number, len(models))
    ]
    for number, index in progress(turns, total=len(turns), label="timing", unit="turns"):
        found = seconds_per_token(models[index], decoding)
        if number:  # the first round warms up
            seconds[index].append(found)
    return seconds
