"""Walks the steps: reads one tensor, cuts it, hands it to its shard; writes the files beside.

The folder is a staging place; whether it becomes the result is not decided here.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import torch

from globalprune.apply.preparation import Prepared
from globalprune.apply.steps import (
    ConvertTensor,
    CopyCompanion,
    CopyModelingFile,
    DropLayer,
    DropTensor,
    EmptyHalf,
    KeepTensor,
    RefitTensor,
    RenumberLayer,
    SliceTensor,
    SolveTensor,
    Step,
    WriteConfig,
    WriteTokenizer,
    WrittenTensor,
    promised,
)
from globalprune.apply.surgery import cut
from globalprune.compensation.solved_weights import SolvedHalves
from globalprune.models import modeling_globalprune
from globalprune.models.checkpoints.output_folder import copy_companion, write_generation_config
from globalprune.models.checkpoints.shard_writer import ShardWriter
from globalprune.models.checkpoints.weight_checks import converted, refuse_non_finite
from globalprune.models.configs.config import write_config
from globalprune.models.loading import load_tokenizer
from globalprune.models.placement import DTYPES, STORED
from globalprune.progress import Progress


def walk(
    prepared: Prepared, folder: Path, progress: Progress, solved: SolvedHalves | None = None
) -> None:
    """Do every step, in order; memory holds one shard. `solved` holds what compensation solved."""
    sizes = {name: facts.bytes for name, facts in promised(prepared.steps).items()}
    writer = ShardWriter(folder, sizes)
    steps: Iterator[Step] = progress(
        prepared.steps, total=len(prepared.steps), label="cut", unit="steps"
    )
    for step in steps:
        _do(step, prepared, folder, writer, solved)
    writer.finish()


def _do(
    step: Step,
    prepared: Prepared,
    folder: Path,
    writer: ShardWriter,
    solved: SolvedHalves | None,
) -> None:
    """Do one step."""
    checkpoint = prepared.checkpoint
    match step:
        case KeepTensor() | SliceTensor():
            whole = checkpoint.read(step.name)
            refuse_non_finite(step.name, whole, checkpoint.source.name)
            writer.put(step.becomes, _as_promised(cut(whole, step), step, checkpoint.source.name))
        case ConvertTensor():
            whole = checkpoint.read(step.name)
            writer.put(step.becomes, _as_promised(whole, step, checkpoint.source.name))
        case SolveTensor() | RefitTensor():
            weight = _solved(step, solved)
            refuse_non_finite(step.becomes, weight, "compensation")
            writer.put(step.becomes, _as_promised(weight, step, "compensation"))
        case DropTensor() | EmptyHalf() | DropLayer() | RenumberLayer():
            return  # told to people; done by what isn't written, and by the new names
        case WriteConfig():
            source = checkpoint.source
            write_config(prepared.edit.config, None if source.is_gguf else source.path, folder)
        case CopyModelingFile():
            shutil.copyfile(Path(modeling_globalprune.__file__), folder / step.name)
        case CopyCompanion():
            copy_companion(checkpoint.companions or folder, step.name, folder)
        case WriteTokenizer():
            load_tokenizer(checkpoint.source.path).save_pretrained(folder)
            write_generation_config(checkpoint.config, folder)
        case _:
            assert_never(step)


def _as_promised(tensor: torch.Tensor, step: WrittenTensor, where: str) -> torch.Tensor:
    """The tensor in the dtype that the step promises; raise where that can't hold a number."""
    stored = step.facts.dtype
    if stored not in STORED or tensor.dtype == DTYPES[STORED[stored]]:
        return tensor
    return converted(step.becomes, tensor, DTYPES[STORED[stored]], where)


def _solved(step: SolveTensor | RefitTensor, solved: SolvedHalves | None) -> torch.Tensor:
    """The weights that compensation found for a step."""
    if solved is None:
        raise ValueError(f"{step.name} was to be solved, and nobody did")
    if isinstance(step, RefitTensor):
        return solved.final_norm()
    return solved.weight((step.layer, step.group_type), step.part)
