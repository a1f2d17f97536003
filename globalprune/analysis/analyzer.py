"""Measures a model on a text: one pass, one table, one record. Nothing is cut and nothing planned.

Whatever can be refused is refused before the weights are loaded, and nothing is written before
everything is known.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from globalprune.analysis.measure import Measured, Measuring, measure
from globalprune.analysis.output import RunLog, write_analysis
from globalprune.analysis.prior_plan import apply_prior_plan, read_prior_plan
from globalprune.analysis.request import (
    Subject,
    chosen_normalisers,
    label_draw,
    model_record,
    refuse_ordering_experts,
    refuse_single_window,
    subject_of,
)
from globalprune.analysis.trial import Candidates, PlanTrial
from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.trial import window_count
from globalprune.artifacts.disk import refuse_inside_model, refuse_occupied
from globalprune.artifacts.own_files import ANALYSIS_MARKERS
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.compensation import GATE_STEPS, check_gate_steps
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.writer_lock import holds_writer_lock
from globalprune.compensation.compensated_weights import CompensatedWeights
from globalprune.compensation.split import validation_every
from globalprune.errors import UsageError
from globalprune.importance import DEFAULT_IMPORTANCE, Importance, importances_named
from globalprune.models.checkpoints.identity import identify_model, refuse_changed
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model, load_tokenizer, unfuse_experts
from globalprune.models.placement import Placement, choose_placement, peak_memory
from globalprune.models.sources.source import resolve_model
from globalprune.progress import Progress, silent
from globalprune.text.calibration import SAMPLES, calibration_text
from globalprune.text.windows import TokenWindows, check_counts

BATCH_SIZE = 4
_NOTHING_LEFT = "no earlier run left anything to go on with"


@holds_writer_lock("out")
def analyze(
    model: str,
    out: Path,
    *,
    data: str | None = None,
    samples: int | None = None,
    seq_len: int | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    importances: Sequence[str] = (DEFAULT_IMPORTANCE,),
    layers: str | None = None,
    given: Path | None = None,
    compensating: bool = False,
    gate_steps: int = GATE_STEPS,
    candidates: Candidates | None = None,
    labels: str = "text",
    normaliser: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> AnalysisRecord:
    """Measure every group of the layers by every method, and write the analysis into `out`.

    Of a plan that is `given`, measure what it leaves standing, compensated on the same text if
    `compensating`, with so many `gate_steps`; the groups that it removes are worth nothing then.
    `candidates` makes of the table what a trial masks at the end; without it nothing is tried.
    What there is so far lies in `out`.unfinished, and with `resume` the same work goes on there.
    """
    log = RunLog(command)
    methods = importances_named(importances)
    normalisers = chosen_normalisers(methods, normaliser)
    check_counts(samples=samples, seq_len=seq_len, seed=seed, batch_size=batch_size)
    check_gate_steps(gate_steps)
    refuse_occupied(out, ours=ANALYSIS_MARKERS, overwrite=overwrite)
    work = RunFolder.beside(out)
    work.refuse_unfinished(resume=resume, overwrite=overwrite)
    placement, draw = _placement(device, dtype), label_draw(labels, seed)
    with log.phase("read the model's structure"):
        checkpoint = open_checkpoint(resolve_model(model))
        subject = subject_of(checkpoint, layers)
        refuse_ordering_experts(methods, subject.structure)
        if subject.structure.has_experts:
            batch_size = 1  # an expert sees tokens, and not of which window they are
        refuse_inside_model(out, subject.source.path)
        decided = None
        if given is not None:
            steps = gate_steps if compensating else None
            decided = read_prior_plan(given, subject, steps)
    with log.phase("cut the text into windows"):
        text = calibration_text(
            data, partial(load_tokenizer, subject.source.path),
            vocab_size=subject.figures.require("vocab_size"),
            samples=samples, seq_len=seq_len, seed=seed, progress=progress,
            max_unused=0 if candidates is None else window_count(samples or SAMPLES),
        )  # fmt: skip
        windows = text.windows
        refuse_single_window(methods, windows)
        if given is not None and compensating:
            validation_every(windows)
    with log.phase("take the weights' fingerprint"):
        described = model_record(checkpoint, subject)
        del checkpoint  # of a GGUF file it holds all weights, and they are about to be loaded again
    how: dict[str, Any] = {
        "given": None if decided is None else decided.record,
        "labels": labels,
        "label_seed": None if draw is None else draw.seed,
        "batch_size": batch_size,
    }
    with log.phase("take the model's digests"):
        identity: dict[str, Any] = {
            "trust_remote_code": trust_remote_code,
            "model": dict(identify_model(subject.source, progress).files),
            **_identity(subject, windows, methods, placement, how),
        }
    _begin(work, identity, log, resume=resume)
    with work.removed_if_empty():
        with log.phase("load the model"):
            loaded = load_model(
                subject.source, dtype=placement.dtype, device=placement.device,
                trust_remote_code=trust_remote_code,
            )  # fmt: skip
            unfuse_experts(loaded)
        if decided is not None:
            with log.phase("take away what is decided"):
                solved = CompensatedWeights(work.subfolder("given"))
                parts = (loaded, subject, decided, windows, solved)
                apply_prior_plan(*parts, batch_size=batch_size, progress=progress)
        with log.phase("run the text through it"):
            measured = measure(
                loaded, subject,
                Measuring(windows, methods, batch_size, draw, work, progress), decided,
            )  # fmt: skip
        _check_measured(measured, subject, identity, log)
        how |= {
            "model": described,
            "normalisers": normalisers,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "command": tuple(command),
            "peak_memory_bytes": peak_memory(placement.device),
        }
        record = write_analysis(
            out, subject, windows, methods, measured, log, how,
            PlanTrial(loaded, subject, text, decided, progress, candidates).run,
        )  # fmt: skip
    work.remove()
    return record


def _begin(work: RunFolder, identity: Mapping[str, Any], log: RunLog, *, resume: bool) -> None:
    """Make the run's folder, or go on in the one that lies there, and say which."""
    if resume:
        log.say("go on with what an earlier run left" if work.exists else _NOTHING_LEFT)
    work.begin(identity, resume=resume)


def _check_measured(
    measured: Measured, subject: Subject, identity: Mapping[str, Any], log: RunLog
) -> None:
    """Raise where the model changed while it was measured; note what could not be kept."""
    refuse_changed(subject.source, identity["model"])
    if measured.save_failure is not None:
        log.say(f"it could not be kept to go on from: {measured.save_failure}")


def _identity(
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    placement: Placement,
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides the numbers, to the last bit."""
    given = how["given"]
    return {
        "versions": tool_versions(),
        "text": windows.record.digest,
        "importances": sorted(method.name for method in methods),
        "device": torch.device(placement.device).type,
        "dtype": str(placement.dtype),
        "layers": [subject.layers.start, subject.layers.stop],
        **how,
        "given": None if given is None else given.model_dump(),
    }


def _placement(device: str | None, dtype: str | None) -> Placement:
    """Where to run; sums over a text are float64, which not every device has."""
    placement = choose_placement(device, dtype)
    if torch.device(placement.device).type == "mps":
        raise UsageError(f"--device {placement.device}: has no float64; say --device cpu.")
    return placement
