"""Runs the steps: a staged folder, tensors one at a time, records, and the swap into place."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from safetensors import SafetensorError

from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.artifacts.results.metrics import ApplyMetrics, ApplyResult, CutModel, widths_of
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
from globalprune.progress import Progress, silent
from globalprune.surgery.compensate import Compensation, read_windows, solve
from globalprune.surgery.explain import Explanation, explanation_of
from globalprune.surgery.prepare import Prepared, doubts_of, prepare
from globalprune.surgery.records import find_analysis, write_records
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


def cut(tensor: torch.Tensor, step: KeepTensor | SliceTensor) -> torch.Tensor:
    """Return what the step keeps, contiguous and in its own dtype; uncut, it is the same bits."""
    if isinstance(step, KeepTensor):
        return tensor.contiguous()
    blocks = [tensor.narrow(step.dim, first, last + 1 - first) for first, last in step.kept.ranges]
    if len(blocks) == 1:  # a clone: a view would keep the whole tensor in memory and in the file
        return blocks[0].clone(memory_format=torch.contiguous_format)
    return torch.cat(blocks, dim=step.dim)


def walk(
    prepared: Prepared, folder: Path, progress: Progress, solved: CompensatedWeights | None = None
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
    prepared: Prepared,
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


def explain_plan(
    model: str,
    plan_path: Path,
    out: Path | None = None,
    *,
    analysis: Path | None = None,
    overwrite: bool = False,
    compensation: CompensationRequest | None = None,
    save_dtype: str | None = None,
) -> Explanation:
    """Say what `apply_plan` would do with the same; nothing is written.

    With an `out`, raise what it would refuse of that place too.
    """
    if out is None:
        prepared = prepare(model, plan_path, compensation, save_dtype)
        _refuse_broken_promise(prepared)
        return _explained(prepared)
    place = _Place(out.expanduser(), analysis, overwrite=overwrite)
    return _explained(_ready(model, plan_path, place, compensation, save_dtype)[0])


def check_apply(
    model: str,
    plan_path: Path,
    out: Path,
    *,
    analysis: Path | None = None,
    overwrite: bool = False,
    compensation: Compensation | None = None,
    save_dtype: str | None = None,
) -> tuple[str, ...]:
    """Raise what `apply_plan` would refuse before it writes; return what it would warn of.

    For callers with long work ahead.
    """
    place = _Place(out.expanduser(), analysis, overwrite=overwrite)
    request = None if compensation is None else compensation.request
    prepared, record = _ready(model, plan_path, place, request, save_dtype)
    text = None
    if compensation is not None:
        text = read_windows(compensation, prepared.checkpoint).record
    return doubts_of(prepared, record, text)


@holds_writer_lock("out")
def apply_plan(
    model: str,
    plan_path: Path,
    out: Path,
    *,
    analysis: Path | None = None,
    overwrite: bool = False,
    compensation: Compensation | None = None,
    save_dtype: str | None = None,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> ApplyResult:
    """Write the model that the plan leaves of `model` into the folder `out`, whole or not at all.

    `out` is replaced only with `overwrite`, and only if this function wrote it. `analysis` names
    the record to keep beside the result; without it, the plan's own is taken if it is found. With
    a `compensation`, what stays is solved anew on its text first. Every tensor keeps its dtype,
    unless floating-point ones are to be written as `save_dtype`.
    """
    started = time.monotonic()
    out = out.expanduser()
    place = _Place(out, analysis, overwrite=overwrite)
    request = None if compensation is None else compensation.request
    prepared, record = _ready(model, plan_path, place, request, save_dtype)
    repaired = None if compensation is None else solve(compensation, prepared, progress)
    solved = None
    if compensation is not None and repaired is not None:
        solved = CompensatedWeights(compensation.work.with_key({"text": repaired.text.digest}))
    try:
        with staged_folder(out.resolve(), replace=overwrite) as folder:
            walk(prepared, folder, progress, solved)
            weights = weights_fingerprint(_verified(prepared, folder, out))
            text = None if repaired is None else repaired.text
            warnings = doubts_of(prepared, record, text)
            metrics = _metrics(prepared, weights, command, warnings, started)
            if repaired is not None:
                metrics = metrics.model_copy(
                    update={
                        "repaired_modules": repaired.accepted,
                        "final_norm_refitted": repaired.final_norm_refitted,
                    }
                )
            lines = _explained(prepared).lines
            write_records(
                folder, prepared, metrics, analysis=record, compensation=repaired, lines=lines
            )
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


@dataclass(frozen=True)
class _Place:
    """Where the result goes, and what of others may lie there."""

    out: Path
    analysis: Path | None
    overwrite: bool


def _ready(
    model: str,
    plan_path: Path,
    place: _Place,
    compensation: CompensationRequest | None = None,
    save_dtype: str | None = None,
) -> tuple[Prepared, Path | None]:
    """Everything that can be refused, and what the rest needs: the steps, and analysis.json."""
    prepared = prepare(model, plan_path, compensation, save_dtype)
    _refuse_broken_promise(prepared)
    record = find_analysis(prepared, place.analysis)
    refuse_unsafe_output(
        place.out,
        [prepared.checkpoint.source],
        needed_bytes=prepared.files.bytes_after,
        overwrite=place.overwrite,
    )
    return prepared, record


def _refuse_broken_promise(prepared: Prepared) -> None:
    """Raise `UsageError` where the plan's size would be broken by the dtype that is written."""
    if prepared.promise.broken is not None:
        raise UsageError(prepared.promise.broken)


def _weight_bytes(prepared: Prepared) -> int:
    """What the result's weights take on disk."""
    return sum(facts.bytes for facts in promised_tensors(prepared.steps).values())


def _explained(prepared: Prepared) -> Explanation:
    """Tell the steps that are about to be walked."""
    return explanation_of(
        prepared.steps,
        prepared.structure,
        prepared.effect,
        model=prepared.checkpoint.source.name,
        weights=prepared.files,
        warnings=prepared.warnings,
    )


def _verified(prepared: Prepared, folder: Path, out: Path) -> Checkpoint:
    """Open what was written, and compare it with the promise."""
    expected = promised_tensors(prepared.steps)
    return verify(
        folder, str(out), expected, prepared.effect, prepared.adapter, prepared.files.bytes_after
    )


def _metrics(
    prepared: Prepared,
    weights: str,
    command: Sequence[str],
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
        command=tuple(command),
        versions=tool_versions(),
        warnings=warnings,
    )
