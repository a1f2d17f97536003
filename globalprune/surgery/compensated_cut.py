"""Compensates a prepared cut: reads the text, loads the model, keeps the weights on disk.

Every refusal comes before the weights are loaded, and the model is gone from memory before anything
of the result is written.
"""

import time

from globalprune.artifacts.results.cut import (
    CompensatedNorm,
    CompensationRecord,
    CompensationRequest,
    check_gate_steps,
)
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.compensate import compensate, validation_every, window_starts
from globalprune.compensation.final_norm import LogitScales
from globalprune.compensation.ridge import STRENGTHS
from globalprune.compensation.sublayer_weights import CompensatedWeights
from globalprune.models.loading import load_model, unfuse_experts
from globalprune.models.placement import choose_float64_placement, peak_memory
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import ApplyOptions
from globalprune.progress import Progress, silent
from globalprune.sublayers.residual_stream import sublayer_model
from globalprune.surgery.prepare import PreparedCut
from globalprune.text.calibration import calibration_windows
from globalprune.text.windows import TokenWindows, check_counts


def read_windows(
    model: PreparedModel, options: ApplyOptions, progress: Progress = silent
) -> TokenWindows | None:
    """Read the text to compensate with, if the options ask for compensation.

    Raise `TextError` or `UsageError` for text that can't be compensated with.
    """
    request = options.compensation
    if request is None:
        return None
    check_compensation(options)
    windows = calibration_windows(
        request.data,
        model.load_tokenizer,
        vocab_size=model.vocab_size,
        samples=request.samples,
        seq_len=request.seq_len,
        seed=request.seed,
        progress=progress,
    )
    check_compensation(options, windows)
    return windows


def check_compensation(options: ApplyOptions, windows: TokenWindows | None = None) -> None:
    """Raise `UsageError` for options, and for windows, that can't be compensated with."""
    request = options.compensation
    if request is None:
        return
    check_counts(
        samples=request.samples,
        seq_len=request.seq_len,
        seed=request.seed,
        batch_size=request.batch_size,
    )
    check_gate_steps(request.gate_steps)
    choose_float64_placement(options.device, options.dtype)
    if windows is not None:
        validation_every(windows)


def compensate_cut(
    prepared: PreparedCut,
    request: CompensationRequest,
    windows: TokenWindows,
    work: RunFolder,
    progress: Progress,
) -> tuple[CompensationRecord, CompensatedWeights]:
    """Compensate the cut; return the record, and the weights, which lie in `work`."""
    started = time.monotonic()
    options = prepared.options
    placement = choose_float64_placement(options.device, options.dtype)
    model = load_model(prepared.checkpoint, dtype=placement.dtype, device=placement.device)
    unfuse_experts(model)
    weights = CompensatedWeights(work.with_key({"text": windows.record.digest}))
    compensated = compensate(
        sublayer_model(model, prepared.adapter, prepared.structure),
        prepared.effect,
        windows,
        weights,
        prepared.checkpoint.read,
        batch_size=request.batch_size,
        gate_steps=request.gate_steps,
        progress=progress,
    )
    record = CompensationRecord(
        text=windows.record,
        held_out_windows=len(windows.rows) // validation_every(windows),
        beginnings=len(window_starts(windows).rows),
        strengths=STRENGTHS,
        gate_steps=request.gate_steps,
        dtype=str(model.dtype).removeprefix("torch."),
        modules=compensated.modules,
        final_norm=_compensate_norm(compensated.logit_scales, prepared, weights),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory(placement.device),
    )
    return record, weights


def _compensate_norm(
    fit: LogitScales | None, prepared: PreparedCut, weights: CompensatedWeights
) -> CompensatedNorm | None:
    """Save the final norm's weight, scaled where that helps; return its record."""
    name = f"{prepared.adapter.final_norm}.weight"
    weight = prepared.checkpoint.read(name)
    scales = None if fit is None else fit.scales
    if scales is not None:
        offset = prepared.adapter.final_norm_offset
        weight = ((weight.float() + offset) * scales.cpu() - offset).to(weight.dtype)
    weights.save_final_norm(weight)
    if fit is None:
        return None
    return CompensatedNorm(
        tensor=name,
        refitted=scales is not None,
        divergence_before=fit.divergence_before,
        divergence_after=fit.divergence_after,
    )
