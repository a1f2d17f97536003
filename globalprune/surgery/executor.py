"""Executes a cut: a staged folder, tensors one at a time, records, and the swap into place.

Before the swap the folder is opened again, as any reader would open it, and compared with what the
plan promises: names, shapes, dtypes, bytes and groups, not the values of weights.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, assert_never

import torch
from safetensors import SafetensorError

from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.cut import (
    ApplyMetrics,
    ApplyResult,
    CompensationRecord,
    CutModel,
    widths_of,
)
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import staged_folder
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.artifacts.writer_lock import holds_writer_lock
from globalprune.card.model_card import write_card
from globalprune.compensation.sublayer_weights import CompensatedWeights
from globalprune.errors import (
    ApplyError,
    CheckpointError,
    UnsupportedArchitecture,
    UsageError,
    VerificationFailed,
)
from globalprune.models import modeling_globalprune
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.checkpoints.gguf_header import quantisation_of
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.output_folder import (
    copy_auxiliary_file,
    refuse_unsafe_output,
    write_generation_config,
)
from globalprune.models.checkpoints.shard_writer import ShardWriter
from globalprune.models.checkpoints.weight_checks import convert_dtype, refuse_non_finite
from globalprune.models.configs.config import write_config
from globalprune.models.meta_model import class_differences
from globalprune.models.placement import DTYPES, TORCH_DTYPE_NAMES
from globalprune.models.sources.source import ModelSource
from globalprune.models.tokenizer import load_tokenizer
from globalprune.progress import SILENT, Progress, Reporter
from globalprune.surgery.compensated_cut import compensate_cut
from globalprune.surgery.explain import explain_cut
from globalprune.surgery.prepare import PreparedCut, cut_warnings
from globalprune.surgery.records import write_records
from globalprune.surgery.steps import (
    CompensatedFinalNorm,
    CompensatedTensor,
    ConvertTensor,
    CopyAuxiliaryFile,
    CopyModelingFile,
    DropLayer,
    DropTensor,
    EmptySublayer,
    KeepTensor,
    RenumberLayer,
    SliceTensor,
    Step,
    WriteConfig,
    WriteTokenizer,
    WrittenTensor,
    promised_tensors,
)
from globalprune.surgery.weight_files import bytes_on_disk
from globalprune.text.windows import TokenWindows

_SHOWN: Final = 20  # differences in a message; the first ones show what went wrong


@holds_writer_lock("out")
def cut_model(
    prepared: PreparedCut,
    out: Path,
    windows: TokenWindows | None = None,
    work: RunFolder | None = None,
    *,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> ApplyResult:
    """Write the model that the plan leaves into the folder `out`, whole or not at all.

    `out` is replaced only with `overwrite`, and only if gp wrote it. Where the options ask for
    compensation, `windows` are what `read_windows` returns, and `work` keeps compensated weights.
    """
    started = time.monotonic()
    out = out.expanduser()
    refuse_cut(prepared, out, overwrite=overwrite)
    record, compensated = _compensated(prepared, windows, work, reporter.progress)
    try:
        with staged_folder(out.resolve(), replace=overwrite) as folder:
            execute_steps(prepared, folder, reporter.progress, compensated)
            weights = weights_fingerprint(_verified(prepared, folder, out))
            metrics = _metrics(prepared, record, weights, reporter.command, started)
            lines = explain_cut(prepared).lines
            write_records(
                folder,
                metrics,
                plan=prepared.file.content,
                origin=prepared.origin,
                analysis=prepared.analysis,
                compensation=record,
                lines=lines,
            )
            naming = write_card(
                folder, name=out.resolve().name, licence_from=prepared.checkpoint.auxiliary_folder
            )
    except (OSError, SafetensorError) as error:
        raise ApplyError(
            f"{out}: could not be written ({error}); nothing was left behind. "
            "See that the disk has room and that the folder above may be written."
        ) from error
    warnings = (*metrics.warnings, *filter(None, [naming]))
    return ApplyResult(**metrics.model_dump(exclude={"warnings"}), warnings=warnings, out=str(out))


def refuse_cut(prepared: PreparedCut, out: Path, *, overwrite: bool) -> None:
    """Raise what `cut_model` would refuse before it writes; for callers with long work ahead."""
    refuse_broken_size(prepared)
    prepared.analysis  # noqa: B018 - raises where another analysis is named
    refuse_unsafe_output(
        out.expanduser(),
        [prepared.model.source],
        needed_bytes=prepared.files.bytes_after,
        overwrite=overwrite,
    )


def refuse_broken_size(prepared: PreparedCut) -> None:
    """Raise `UsageError` where the dtype that is written would break the plan's size."""
    if prepared.promise.broken is not None:
        raise UsageError(prepared.promise.broken)


def execute_steps(
    prepared: PreparedCut,
    folder: Path,
    progress: Progress,
    compensated: CompensatedWeights | None = None,
) -> None:
    """Execute every step, in order, into `folder`; memory holds one shard."""
    sizes = {name: info.bytes for name, info in promised_tensors(prepared.steps).items()}
    writer = ShardWriter(folder, sizes)
    steps: Iterator[Step] = progress(
        prepared.steps, total=len(prepared.steps), label="cut", unit="steps"
    )
    for step in steps:
        _execute(step, prepared, folder, writer, compensated)
    writer.finish()


def cut_tensor(tensor: torch.Tensor, step: KeepTensor | SliceTensor) -> torch.Tensor:
    """Return what the step keeps, contiguous and in its own dtype; uncut, it is the same bits."""
    if isinstance(step, KeepTensor):
        return tensor.contiguous()
    blocks = [tensor.narrow(step.dim, first, last + 1 - first) for first, last in step.kept.ranges]
    if len(blocks) == 1:  # a clone: a view would keep the whole tensor in memory and in the file
        return blocks[0].clone(memory_format=torch.contiguous_format)
    return torch.cat(blocks, dim=step.dim)


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


def _execute(
    step: Step,
    prepared: PreparedCut,
    folder: Path,
    writer: ShardWriter,
    compensated: CompensatedWeights | None,
) -> None:
    """Execute one step."""
    checkpoint = prepared.checkpoint
    name = checkpoint.source.name
    match step:
        case KeepTensor() | SliceTensor():
            whole = checkpoint.read(step.name)
            refuse_non_finite(step.name, whole, name)
            writer.put(step.becomes, _in_promised_dtype(cut_tensor(whole, step), step, name))
        case ConvertTensor():
            whole = checkpoint.read(step.name)
            writer.put(step.becomes, _in_promised_dtype(whole, step, name))
        case CompensatedTensor() | CompensatedFinalNorm():
            weight = _compensated_weight(step, compensated)
            refuse_non_finite(step.becomes, weight, "compensation")
            writer.put(step.becomes, _in_promised_dtype(weight, step, "compensation"))
        case DropTensor() | EmptySublayer() | DropLayer() | RenumberLayer():
            return  # for --explain; the steps of the tensors that are written do it
        case WriteConfig():
            source = checkpoint.source
            write_config(prepared.edit.config, None if source.is_gguf else source.path, folder)
        case CopyModelingFile():
            shutil.copyfile(Path(modeling_globalprune.__file__), folder / step.name)
        case CopyAuxiliaryFile():
            copy_auxiliary_file(checkpoint.auxiliary_folder or folder, step.name, folder)
        case WriteTokenizer():
            load_tokenizer(checkpoint.source.path).save_pretrained(folder)
            write_generation_config(checkpoint.config, folder)
        case _:
            assert_never(step)


def _in_promised_dtype(tensor: torch.Tensor, step: WrittenTensor, where: str) -> torch.Tensor:
    """The tensor in the dtype that the step promises; raise where that can't hold a number."""
    stored = step.facts.dtype
    if stored not in TORCH_DTYPE_NAMES or tensor.dtype == DTYPES[TORCH_DTYPE_NAMES[stored]]:
        return tensor
    return convert_dtype(step.becomes, tensor, DTYPES[TORCH_DTYPE_NAMES[stored]], where)


def _compensated_weight(
    step: CompensatedTensor | CompensatedFinalNorm, compensated: CompensatedWeights | None
) -> torch.Tensor:
    """The compensated weight that a step writes."""
    if compensated is None:
        raise ValueError(f"{step.name} is to be compensated, and was not")
    if isinstance(step, CompensatedFinalNorm):
        return compensated.load_final_norm()
    return compensated.load_part((step.layer, step.group_type), step.part)


def _compensated(
    prepared: PreparedCut,
    windows: TokenWindows | None,
    work: RunFolder | None,
    progress: Progress,
) -> tuple[CompensationRecord | None, CompensatedWeights | None]:
    """Compensate the cut if the options ask for it."""
    request = prepared.options.compensation
    if request is None:
        return None, None
    if windows is None or work is None:
        raise ValueError("compensation needs its windows, and a folder for its weights")
    return compensate_cut(prepared, request, windows, work, progress)


def _verified(prepared: PreparedCut, folder: Path, out: Path) -> Checkpoint:
    """Open what was written, and compare it with the promise."""
    expected = promised_tensors(prepared.steps)
    return verify(
        folder, str(out), expected, prepared.effect, prepared.adapter, prepared.files.bytes_after
    )


def _metrics(
    prepared: PreparedCut,
    compensation: CompensationRecord | None,
    weights: str,
    command: tuple[str, ...],
    started: float,
) -> ApplyMetrics:
    """Make the record of a cut that is written and verified; `weights` is its fingerprint."""
    effect, source = prepared.effect, prepared.checkpoint.source
    return ApplyMetrics(
        model=CutModel(
            source=source.name,
            revision=source.revision,
            structure=prepared.structure.fingerprint,
            weights=prepared.weights,
            quantisation=quantisation_of(source),
        ),
        plan=prepared.plan.decisions_digest(),
        first=prepared.history.first,
        earlier=prepared.history.steps,
        parameters_before=effect.parameters_before,
        parameters_after=effect.parameters_after,
        ratio=effect.ratio,
        removed_groups=effect.removed_groups,
        repaired_modules=None if compensation is None else compensation.accepted,
        final_norm_refitted=None if compensation is None else compensation.final_norm_refitted,
        dropped_layers=effect.dropped_layers,
        layers=widths_of(effect),
        uneven=prepared.edit.uneven,
        reason=prepared.edit.reason,
        weight_bytes=sum(info.bytes for info in promised_tensors(prepared.steps).values()),
        bytes_before=prepared.files.bytes_before,
        bytes_after=prepared.files.bytes_after,
        save_dtype=prepared.files.save_dtype,
        weights=weights,
        seconds=time.monotonic() - started,
        command=command,
        versions=tool_versions(),
        warnings=cut_warnings(prepared, None if compensation is None else compensation.text),
    )


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
