"""Opens the written folder again, as any reader would, and compares it with the plan's promise.

A result takes its final place only after this. Shapes are compared, not weights.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import CheckpointError, UnsupportedArchitecture, VerificationFailed
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.meta_model import class_differences
from globalprune.models.sources.source import ModelSource
from globalprune.surgery.weight_files import bytes_on_disk

_SHOWN: Final = 20  # differences in a message; the first ones show what went wrong


def verify(
    folder: Path,
    name: str,
    promised: Mapping[str, TensorInfo],
    effect: PlanEffect,
    adapter: ModelAdapter,
    most_bytes: int,
) -> Checkpoint:
    """Open `folder` and compare it; return its checkpoint.

    `name` is the result's in messages, `promised` are its tensors, and `most_bytes` the most that
    its weight files may take. Raise `VerificationFailed` with every difference.
    """
    differences: list[str] = []
    try:
        checkpoint = open_checkpoint(ModelSource(name, folder, None))
        # one by one: where a later comparison can't read the file, the earlier differences say why
        differences += _tensor_differences(promised, checkpoint)
        differences += _parameter_differences(effect, checkpoint)
        differences += _byte_differences(most_bytes, folder)
        differences += _group_differences(effect, adapter, checkpoint)
        differences += class_differences(checkpoint.config, checkpoint.tensors)
    except (CheckpointError, UnsupportedArchitecture) as error:
        differences.append(f"can't be opened: {error}")
        raise VerificationFailed(_message(name, differences)) from error
    if differences:
        raise VerificationFailed(_message(name, differences))
    return checkpoint


def _message(name: str, differences: list[str]) -> str:
    """A message with one line per difference."""
    shown = differences[:_SHOWN]
    if len(differences) > _SHOWN:
        shown.append(f"… and {len(differences) - _SHOWN} more")
    head = (
        f"{name}: the written model is not what the plan promised, so nothing was kept. "
        "This is a fault of globalprune; please report it with the plan."
    )
    return "\n  ".join([head, *shown])


def _tensor_differences(
    promised: Mapping[str, TensorInfo], checkpoint: Checkpoint
) -> Iterator[str]:
    """Compare names, shapes and dtypes of the file with the promise."""
    found = checkpoint.tensors
    for name in sorted(promised.keys() | found.keys()):
        if promised.get(name) != found.get(name):
            expected, got = _format_info(promised.get(name)), _format_info(found.get(name))
            yield f"{name}: promised {expected}, found {got}"


def _format_info(info: TensorInfo | None) -> str:
    return "nothing" if info is None else f"{list(info.shape)} {info.dtype}"


def _parameter_differences(effect: PlanEffect, checkpoint: Checkpoint) -> Iterator[str]:
    """Compare the number of parameters with the plan's."""
    if checkpoint.parameters != effect.parameters_after:
        yield (
            f"parameters: promised {effect.parameters_after:,}, found {checkpoint.parameters:,} "
            f"(of {effect.parameters_before:,} before)"
        )


def _byte_differences(most_bytes: int, folder: Path) -> Iterator[str]:
    """Compare the bytes of the weight files."""
    found = bytes_on_disk(folder)
    if found > most_bytes:
        yield f"bytes of weight files: promised {most_bytes:,}, found {found:,}"


def _group_differences(
    effect: PlanEffect, adapter: ModelAdapter, checkpoint: Checkpoint
) -> Iterator[str]:
    """Compare the groups of every sublayer, as an analysis of the result would count them."""
    layers = adapter.structure(checkpoint).layers
    kept = effect.kept_layers
    if len(layers) != len(kept):
        yield f"layers: promised {len(kept)}, found {len(layers)}"
    for index, (layer, promise) in enumerate(zip(layers, kept, strict=False)):
        for group_type in GROUP_TYPES:
            found = layer.sublayer(group_type).groups
            promised = len(promise.of(group_type))
            if promised != found:
                yield f"layer {index}, {group_type}: promised {promised} groups, found {found}"
