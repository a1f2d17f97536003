"""machine.json measured: the time of a decoded token, by how much of itself every layer keeps.

Each point is a whole model of the shape that a cut would leave, built without the weights. All
points lie in one block of numbers, so that memory holds no more than the full model, and they take
turns, so that a machine that drifts does so for all of them alike.
"""

import time
from collections.abc import Sequence

from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.latency import MachineRecord, TimedPoint
from globalprune.artifacts.records import tool_versions
from globalprune.evaluate.decoding import Decoding, seconds_per_token
from globalprune.evaluate.hardware import this_machine
from globalprune.evaluate.latency_doubts import warn_of_latencies
from globalprune.evaluate.latency_shapes import Kept, model_of, shapes_to_time
from globalprune.evaluate.latency_subject import Subject, find_subject, refuse_small
from globalprune.evaluate.turns import turns_of
from globalprune.models.meta_model import lay_into, numbers_in, random_block
from globalprune.models.placement import choose_placement
from globalprune.progress import Progress, silent


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
    refuse_small(decoding, points, rounds)
    placement = choose_placement(device, dtype)
    started = time.monotonic()
    subject = find_subject(model, decoding, placement)
    shapes = shapes_to_time(subject.layer, points)
    models = _built(subject, shapes, placement.device)
    seconds = _take_turns(models, decoding, rounds, progress)
    record = MachineRecord(
        model=subject.reference,
        layers=len(subject.structure.layers),
        device=placement.device,
        hardware=this_machine(placement.device),
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


def _built(subject: Subject, shapes: Sequence[Kept], device: str) -> list[PreTrainedModel]:
    """A model of every shape, all in one block of numbers."""
    models = [model_of(subject.config, subject.structure, kept, subject.dtype) for kept in shapes]
    block = random_block(max(map(numbers_in, models)), subject.dtype, device)
    for model in models:
        lay_into(block, model)
    return models


def _take_turns(
    models: Sequence[PreTrainedModel], decoding: Decoding, rounds: int, progress: Progress
) -> list[list[float]]:
    """Seconds a token of every model, one for each round that counts."""
    seconds: list[list[float]] = [[] for _ in models]
    turns = [
        (number, index) for number in range(rounds + 1) for index in turns_of(number, len(models))
    ]
    for number, index in progress(turns, total=len(turns), label="timing", unit="turns"):
        found = seconds_per_token(models[index], decoding)
        if number:  # the first round warms up
            seconds[index].append(found)
    return seconds
