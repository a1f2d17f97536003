"""Runs the steps: a staged folder, tensors one at a time, records, and the swap into place."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

import torch
from safetensors import SafetensorError

from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.compensation import CompensationRecord
from globalprune.artifacts.results.metrics import ApplyMetrics, ApplyResult, CutModel, widths_of
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.staging import staged_folder
from globalprune.artifacts.writer_lock import holds_writer_lock
from globalprune.card.model_card import write_card
from globalprune.compensation.compensated_weights import CompensatedWeights
from globalprune.errors import ApplyError, UsageError
from globalprune.models import modeling_globalprune
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import weights_fingerprint
from globalprune.models.checkpoints.gguf_header import quantisation_of
from globalprune.models.checkpoints.output_folder import (
    copy_auxiliary_file,
    refuse_unsafe_output,
    write_generation_config,
)
from globalprune.models.checkpoints.shard_writer import ShardWriter
from globalprune.models.checkpoints.weight_checks import convert_dtype, refuse_non_finite
from globalprune.models.configs.config import write_config
from globalprune.models.loading import load_tokenizer
from globalprune.models.placement import DTYPES, TORCH_DTYPE_NAMES
from globalprune.progress import SILENT, Progress, Reporter
from globalprune.surgery.compensate import compensate_cut
from globalprune.surgery.explain import Explanation, explanation_of
from globalprune.surgery.prepare import PreparedCut, doubts_of
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
from globalprune.surgery.verify import verify
from globalprune.text.windows import TokenWindows


def cut(tensor: torch.Tensor, step: KeepTensor | SliceTensor) -> torch.Tensor:
    """Return what the step keeps, contiguous and in its own dtype; uncut, it is the same bits."""
    if isinstance(step, KeepTensor):
        return tensor.contiguous()
    blocks = [tensor.narrow(step.dim, first, last + 1 - first) for first, last in step.kept.ranges]
    if len(blocks) == 1:  # a clone: a view would keep the whole tensor in memory and in the file
        return blocks[0].clone(memory_format=torch.contiguous_format)
    return torch.cat(blocks, dim=step.dim)


def walk(
    prepared: PreparedCut,
    folder: Path,
    progress: Progress,
    solved: CompensatedWeights | None = None,
) -> None:
    """Do every step, in order; memory holds one shard. `solved` holds what compensation solved."""
    sizes = {name: facts.bytes for name, facts in promised_tensors(prepared.steps).items()}
    writer = ShardWriter(folder, sizes)
    steps: Iterator[Step] = progress(
        prepared.steps, total=len(prepared.steps), label="cut", unit="steps"
    )
    for step in steps:
        _do(step, prepared, folder, writer, solved)
    writer.finish()


def _do(
    step: Step,
    prepared: PreparedCut,
    folder: Path,
    writer: ShardWriter,
    solved: CompensatedWeights | None,
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
        case CompensatedTensor() | CompensatedFinalNorm():
            weight = _compensated_weight(step, solved)
            refuse_non_finite(step.becomes, weight, "compensation")
            writer.put(step.becomes, _as_promised(weight, step, "compensation"))
        case DropTensor() | EmptySublayer() | DropLayer() | RenumberLayer():
            return  # told to people; done by what isn't written, and by the new names
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


def _as_promised(tensor: torch.Tensor, step: WrittenTensor, where: str) -> torch.Tensor:
    """The tensor in the dtype that the step promises; raise where that can't hold a number."""
    stored = step.facts.dtype
    if stored not in TORCH_DTYPE_NAMES or tensor.dtype == DTYPES[TORCH_DTYPE_NAMES[stored]]:
        return tensor
    return convert_dtype(step.becomes, tensor, DTYPES[TORCH_DTYPE_NAMES[stored]], where)


def _compensated_weight(
    step: CompensatedTensor | CompensatedFinalNorm, solved: CompensatedWeights | None
) -> torch.Tensor:
    """The compensated weight that a step writes."""
    if solved is None:
        raise ValueError(f"{step.name} is to be compensated, and was not")
    if isinstance(step, CompensatedFinalNorm):
        return solved.final_norm()
    return solved.weight((step.layer, step.group_type), step.part)


def explain_cut(prepared: PreparedCut) -> Explanation:
    """Say what `cut_model` would do; nothing is written."""
    return explanation_of(
        prepared.steps,
        prepared.structure,
        prepared.effect,
        model=prepared.model.name,
        weights=prepared.files,
        warnings=prepared.warnings,
    )


def refuse_cut(prepared: PreparedCut, out: Path, *, overwrite: bool) -> None:
    """Raise what `cut_model` would refuse before it writes; for callers with long work ahead."""
    refuse_broken_promise(prepared)
    prepared.analysis  # noqa: B018 - raises where another analysis is named
    refuse_unsafe_output(
        out.expanduser(),
        [prepared.model.source],
        needed_bytes=prepared.files.bytes_after,
        overwrite=overwrite,
    )


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
    compensation, `windows` are what `read_windows` returned, and `work` keeps what is solved.
    """
    started = time.monotonic()
    out = out.expanduser()
    refuse_cut(prepared, out, overwrite=overwrite)
    repaired, solved = _compensated(prepared, windows, work, reporter.progress)
    try:
        with staged_folder(out.resolve(), replace=overwrite) as folder:
            walk(prepared, folder, reporter.progress, solved)
            weights = weights_fingerprint(_verified(prepared, folder, out))
            warnings = doubts_of(prepared, None if repaired is None else repaired.text)
            metrics = _metrics(prepared, weights, reporter.command, warnings, started)
            if repaired is not None:
                metrics = metrics.model_copy(
                    update={
                        "repaired_modules": repaired.accepted,
                        "final_norm_refitted": repaired.final_norm_refitted,
                    }
                )
            lines = explain_cut(prepared).lines
            write_records(folder, prepared, metrics, compensation=repaired, lines=lines)
            misnamed = write_card(
                folder, name=out.resolve().name, licence_from=prepared.checkpoint.auxiliary_folder
            )
    except (OSError, SafetensorError) as error:
        raise ApplyError(
            f"{out}: could not be written ({error}); nothing was left behind. "
            "See that the disk has room and that the folder above may be written."
        ) from error
    told = (*metrics.warnings, *filter(None, [misnamed]))
    return ApplyResult(**metrics.model_dump(exclude={"warnings"}), warnings=told, out=str(out))


def _compensated(
    prepared: PreparedCut,
    windows: TokenWindows | None,
    work: RunFolder | None,
    progress: Progress,
) -> tuple[CompensationRecord | None, CompensatedWeights | None]:
    """Solve what stays, if that is asked; the record, and the weights on disk."""
    request = prepared.options.compensation
    if request is None:
        return None, None
    if windows is None or work is None:
        raise ValueError("compensation needs its windows, and a folder for what it solves")
    record = compensate_cut(prepared, request, windows, work, progress)
    return record, CompensatedWeights(work.with_key({"text": record.text.digest}))


def refuse_broken_promise(prepared: PreparedCut) -> None:
    """Raise `UsageError` where the plan's size would be broken by the dtype that is written."""
    if prepared.promise.broken is not None:
        raise UsageError(prepared.promise.broken)


def _weight_bytes(prepared: PreparedCut) -> int:
    """What the result's weights take on disk."""
    return sum(facts.bytes for facts in promised_tensors(prepared.steps).values())


def _verified(prepared: PreparedCut, folder: Path, out: Path) -> Checkpoint:
    """Open what was written, and compare it with the promise."""
    expected = promised_tensors(prepared.steps)
    return verify(
        folder, str(out), expected, prepared.effect, prepared.adapter, prepared.files.bytes_after
    )


def _metrics(
    prepared: PreparedCut,
    weights: str,
    command: tuple[str, ...],
    warnings: tuple[str, ...],
    started: float,
) -> ApplyMetrics:
    """Collect what is known once the weights are written and verified."""
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
        dropped_layers=effect.dropped_layers,
        layers=widths_of(effect),
        uneven=prepared.edit.uneven,
        reason=prepared.edit.reason,
        weight_bytes=_weight_bytes(prepared),
        bytes_before=prepared.files.bytes_before,
        bytes_after=prepared.files.bytes_after,
        save_dtype=prepared.files.save_dtype,
        weights=weights,
        seconds=time.monotonic() - started,
        command=command,
        versions=tool_versions(),
        warnings=warnings,
    )
