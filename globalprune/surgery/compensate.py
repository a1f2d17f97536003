"""Runs compensation for a prepared plan: text, model and streams in, solved weights on disk out.

Whatever can be refused is refused before the weights are loaded; the model is gone from memory
before anything of the result is written.
"""

import time
from dataclasses import dataclass
from functools import partial

import torch

from globalprune.artifacts.results.compensation import (
    CompensatedNorm,
    CompensationRecord,
    CompensationRequest,
    check_gate_steps,
)
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.compensate import compensate
from globalprune.compensation.compensated_weights import CompensatedWeights
from globalprune.compensation.final_norm import LogitScales
from globalprune.compensation.ridge import STRENGTHS
from globalprune.compensation.split import validation_every, window_starts
from globalprune.errors import UsageError
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.configs.config import ConfigSizes
from globalprune.models.loading import load_model, load_tokenizer, unfuse_experts
from globalprune.models.placement import Placement, choose_placement, peak_memory
from globalprune.progress import Progress, silent
from globalprune.sublayers.residual_stream import sublayer_model
from globalprune.surgery.prepare import Prepared
from globalprune.text.calibration import calibration_windows
from globalprune.text.windows import TokenWindows, check_counts


@dataclass(frozen=True)
class Compensation:
    """What is asked of compensation, where it runs, and where it keeps what it has solved."""

    request: CompensationRequest
    work: RunFolder
    device: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False


def read_windows(
    compensation: Compensation, checkpoint: Checkpoint, progress: Progress = silent
) -> TokenWindows:
    """Read the text; raise `TextError` or `UsageError` for what can't be compensated with."""
    request, source = compensation.request, checkpoint.source
    check_counts(
        samples=request.samples,
        seq_len=request.seq_len,
        seed=request.seed,
        batch_size=request.batch_size,
    )
    check_gate_steps(request.gate_steps)
    _placement(compensation)
    windows = calibration_windows(
        request.data,
        partial(load_tokenizer, source.path),
        vocab_size=ConfigSizes(checkpoint.config, source.name).require("vocab_size"),
        samples=request.samples,
        seq_len=request.seq_len,
        seed=request.seed,
        progress=progress,
    )
    validation_every(windows)
    return windows


def solve(compensation: Compensation, prepared: Prepared, progress: Progress) -> CompensationRecord:
    """Solve every sublayer, refit the final norm, into the work's folder; tell of it."""
    started = time.monotonic()
    windows = read_windows(compensation, prepared.checkpoint, progress)
    placement = _placement(compensation)
    model = load_model(
        prepared.checkpoint.source,
        dtype=placement.dtype,
        device=placement.device,
        trust_remote_code=compensation.trust_remote_code,
    )
    unfuse_experts(model)
    weights = CompensatedWeights(compensation.work.with_key({"text": windows.record.digest}))
    compensated = compensate(
        sublayer_model(model, prepared.adapter, prepared.structure),
        prepared.effect,
        windows,
        weights,
        prepared.checkpoint.read,
        batch_size=compensation.request.batch_size,
        gate_steps=compensation.request.gate_steps,
        progress=progress,
    )
    return CompensationRecord(
        text=windows.record,
        held_out_windows=len(windows.rows) // validation_every(windows),
        beginnings=len(window_starts(windows).rows),
        strengths=STRENGTHS,
        gate_steps=compensation.request.gate_steps,
        dtype=str(model.dtype).removeprefix("torch."),
        modules=compensated.modules,
        final_norm=_compensate_norm(compensated.logit_scales, prepared, weights),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory(placement.device),
    )


def _compensate_norm(
    fit: LogitScales | None, prepared: Prepared, weights: CompensatedWeights
) -> CompensatedNorm | None:
    """Keep the final norm's weight, scaled where that helps; return its record."""
    name = f"{prepared.adapter.final_norm}.weight"
    weight = prepared.checkpoint.read(name)
    scales = None if fit is None else fit.scales
    if scales is not None:
        offset = prepared.adapter.final_norm_offset
        weight = ((weight.float() + offset) * scales.cpu() - offset).to(weight.dtype)
    weights.keep_final_norm(weight)
    if fit is None:
        return None
    return CompensatedNorm(
        tensor=name,
        refitted=scales is not None,
        divergence_before=fit.divergence_before,
        divergence_after=fit.divergence_after,
    )


def _placement(compensation: Compensation) -> Placement:
    """Where to run; equations are float64, which not every device has."""
    placement = choose_placement(compensation.device, compensation.dtype)
    if torch.device(placement.device).type == "mps":
        raise UsageError(f"--device {placement.device}: has no float64; say --device cpu.")
    return placement
