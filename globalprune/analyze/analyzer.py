"""Measures a model on a text: one pass, one table, one record. Nothing is cut and nothing planned.

Whatever can be refused is refused before the weights are loaded, and nothing is written before
everything is known.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from globalprune.analyze.choices import (
    chosen_normalisers,
    label_draw,
    refuse_ordering_experts,
    refuse_single_window,
)
from globalprune.analyze.curves import curves_of
from globalprune.analyze.description import describe
from globalprune.analyze.doubts import doubts
from globalprune.analyze.given import read_given, take_away
from globalprune.analyze.measuring import Measured, Measuring, measure
from globalprune.analyze.output import DESCRIPTION_FILE, LOG_FILE, staged_analysis
from globalprune.analyze.reliability import reliabilities
from globalprune.analyze.run_log import RunLog, layer_summary
from globalprune.analyze.subject import Subject, model_record, subject_of
from globalprune.analyze.table import build_table
from globalprune.artifacts.analyses.analysis_record import (
    ANALYSIS_FILE,
    AnalysisRecord,
    write_analysis_record,
)
from globalprune.artifacts.analyses.curves import CURVES_FILE, write_curves
from globalprune.artifacts.analyses.group_table import TABLE_FILE, write_group_table
from globalprune.artifacts.disk import refuse_inside, refuse_occupied
from globalprune.artifacts.provenance import tool_versions
from globalprune.artifacts.results.compensation_request import GATE_STEPS, check_gate_steps
from globalprune.errors import UsageError
from globalprune.importance.interface import Importance
from globalprune.importance.registry import DEFAULT_IMPORTANCE, importances_named
from globalprune.models.checkpoints.opening import open_checkpoint
from globalprune.models.experts import take_apart
from globalprune.models.loading import load_model, load_tokenizer
from globalprune.models.placement import Placement, choose_placement
from globalprune.models.sources.source import resolve_model
from globalprune.passes.peak_memory import peak_memory
from globalprune.passes.repair_text import judging_every
from globalprune.progress import Progress, silent
from globalprune.text.calibration import calibration_windows
from globalprune.text.cutting import check_counts
from globalprune.text.windows import TokenWindows

BATCH_SIZE = 4


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
    labels: str = "text",
    normaliser: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> AnalysisRecord:
    """Measure every group of the layers by every method, and write the analysis into `out`.

    Of a plan that is `given`, measure what it leaves standing, compensated on the same text if
    `compensating`, with so many `gate_steps`; the groups that it removes are worth nothing then.
    """
    log = RunLog(command)
    methods = importances_named(importances)
    normalisers = chosen_normalisers(methods, normaliser)
    check_counts(samples=samples, seq_len=seq_len, seed=seed, batch_size=batch_size)
    check_gate_steps(gate_steps)
    refuse_occupied(out, ours=[ANALYSIS_FILE], overwrite=overwrite)
    placement, draw = _placement(device, dtype), label_draw(labels, seed)
    with log.phase("read the model's structure"):
        checkpoint = open_checkpoint(resolve_model(model))
        subject = subject_of(checkpoint, layers)
        refuse_ordering_experts(methods, subject.structure)
        if subject.structure.has_experts:
            batch_size = 1  # an expert sees tokens, and not of which window they are
        refuse_inside(out, subject.source.path)
        decided = None
        if given is not None:
            steps = gate_steps if compensating else None
            decided = read_given(given, subject, steps)
    with log.phase("cut the text into windows"):
        windows = calibration_windows(
            data, partial(load_tokenizer, subject.source.path),
            vocab_size=subject.figures.need("vocab_size"),
            samples=samples, seq_len=seq_len, seed=seed, progress=progress,
        )  # fmt: skip
        refuse_single_window(methods, windows)
        if given is not None and compensating:
            judging_every(windows)
    with log.phase("take the weights' fingerprint"):
        described = model_record(checkpoint, subject)
        del checkpoint  # of a GGUF file it holds all weights, and they are about to be loaded again
    with log.phase("load the model"):
        loaded = load_model(
            subject.source.path, dtype=placement.dtype, device=placement.device,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
        take_apart(loaded)
    if decided is not None:
        with log.phase("take away what is decided"):
            take_away(loaded, subject, decided, windows, batch_size=batch_size, progress=progress)
    with log.phase("run the text through it"):
        how_to = Measuring(windows, methods, batch_size, draw, progress)
        measured = measure(loaded, subject, how_to, decided)
    how = {
        "model": described,
        "given": None if decided is None else decided.record,
        "normalisers": normalisers,
        "labels": labels,
        "label_seed": None if draw is None else draw.seed,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "batch_size": batch_size,
        "command": command,
        "peak_memory_bytes": peak_memory(placement.device),
    }
    return _write(out, subject, windows, methods, measured, log, how)


def _placement(device: str | None, dtype: str | None) -> Placement:
    """Where to run; sums over a text are float64, which not every device has."""
    placement = choose_placement(device, dtype)
    if torch.device(placement.device).type == "mps":
        raise UsageError(f"--device {placement.device}: has no float64; say --device cpu.")
    return placement


def _write(
    out: Path,
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    measured: Measured,
    log: RunLog,
    how: dict[str, Any],
) -> AnalysisRecord:
    """Write table, record, description and log, all or none; return the record."""
    collected, ordered = measured.collected, measured.ordered
    normaliser = how["normalisers"].get(methods[0].name, "none")
    parts = (subject.structure, subject.layers, methods, collected.sums, normaliser)
    draft = build_table(*parts)  # its digest doesn't depend on the metadata
    record = AnalysisRecord(
        structure=subject.structure,
        layers=(subject.layers.start, subject.layers.stop),
        calibration=windows.record,
        methods=tuple(method.name for method in methods),
        default_importance=methods[0].name,
        compensated=tuple(method.name for method in methods if method.counts_on_compensation),
        incomparable=tuple(method.name for method in methods if not method.in_nats),
        reliability=reliabilities(
            subject.structure, subject.layers, methods, collected.halves, how["normalisers"]
        ),
        table=draft.digest,
        versions=tool_versions(),
        seconds=round(log.seconds, 3),
        warnings=tuple(doubts(subject, windows, methods, normaliser, how["labels"], how["dtype"])),
        **how,
    )
    log.say_record(record)
    log.say(f"scores by layer\n{layer_summary(draft)}")
    with staged_analysis(out) as folder:
        table = build_table(*parts, identity=record.identity)
        write_group_table(folder / TABLE_FILE, table, subject.structure)
        if ordered is not None:
            curves = curves_of(ordered, subject.structure)
            write_curves(folder / CURVES_FILE, curves, identity=record.identity)
        (folder / DESCRIPTION_FILE).write_text(describe(record, collected.facts.loss), "utf-8")
        (folder / LOG_FILE).write_text(log.text(), "utf-8")
        write_analysis_record(folder / ANALYSIS_FILE, record)
    return record
