"""Runs compensation for a prepared plan: text, model and streams in, solved weights on disk out.

Whatever can be refused is refused before the weights are loaded; the model is gone from memory
before anything of the result is written.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from globalprune.artifacts.results.compensation import (
    CompensationRecord,
    CompensationRequest,
    FinalNormRefit,
    check_gate_steps,
)
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.compensate import repair_streams
from globalprune.compensation.compensated_weights import CompensatedWeights
from globalprune.compensation.final_norm import refit_final_norm
from globalprune.compensation.ridge import STRENGTHS
from globalprune.compensation.split import beginnings, judging_every, streams_to_repair
from globalprune.errors import UsageError
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.configs.config import ConfigSizes
from globalprune.models.loading import load_model, load_tokenizer, unfuse_experts
from globalprune.models.placement import Placement, choose_placement, peak_memory
from globalprune.progress import Progress, silent
from globalprune.statistics.hooks import frozen
from globalprune.sublayers.residual_stream import (
    StreamBatch,
    check_composition,
    layers_of,
    sublayers_of,
)
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
        vocab_size=ConfigSizes(checkpoint.config, source.name).need("vocab_size"),
        samples=request.samples,
        seq_len=request.seq_len,
        seed=request.seed,
        progress=progress,
    )
    judging_every(windows)
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
    with frozen(model):
        layers = layers_of(model, prepared.adapter, prepared.structure)
        sublayers = sublayers_of(model, prepared.adapter, prepared.structure)
        check_composition(model, layers, sublayers, windows.rows[0][None].to(model.device))
        batches = streams_to_repair(
            model, layers, windows, batch_size=compensation.request.batch_size
        )
        solved = CompensatedWeights(compensation.work.keyed(text=windows.record.digest))
        modules = repair_streams(
            sublayers,
            prepared.effect,
            batches,
            solved,
            prepared.checkpoint.read,
            compensation.request.gate_steps,
            progress,
        )
        final_norm = _refit(model, prepared, batches, windows, solved)
    return CompensationRecord(
        text=windows.record,
        held_out_windows=len(windows.rows) // judging_every(windows),
        beginnings=len(beginnings(windows).rows),
        strengths=STRENGTHS,
        gate_steps=compensation.request.gate_steps,
        dtype=str(model.dtype).removeprefix("torch."),
        modules=tuple(modules),
        final_norm=final_norm,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory(placement.device),
    )


def _refit(
    model: Any,
    prepared: Prepared,
    batches: Sequence[StreamBatch],
    windows: TokenWindows,
    solved: CompensatedWeights,
) -> FinalNormRefit | None:
    """Keep the final norm's weight, refitted where that helps; say how it went."""
    name = f"{prepared.adapter.final_norm}.weight"
    weight = prepared.checkpoint.read(name)
    norm = model.get_submodule(prepared.adapter.final_norm)
    found = refit_final_norm(model, norm, batches, windows.rows[0])
    scales = None if found is None else found.scales
    if scales is not None:
        offset = prepared.adapter.final_norm_offset
        weight = ((weight.float() + offset) * scales.cpu() - offset).to(weight.dtype)
    solved.keep_final_norm(weight)
    if found is None:
        return None
    return FinalNormRefit(
        tensor=name,
        refitted=scales is not None,
        divergence_before=found.divergence_before,
        divergence_after=found.divergence_after,
    )


def _placement(compensation: Compensation) -> Placement:
    """Where to run; equations are float64, which not every device has."""
    placement = choose_placement(compensation.device, compensation.dtype)
    if torch.device(placement.device).type == "mps":
        raise UsageError(f"--device {placement.device}: has no float64; say --device cpu.")
    return placement
