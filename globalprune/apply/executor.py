"""Applies a plan: prepare, walk the steps in a staging folder, verify, and only then rename.

MODEL is never changed. An error at any point leaves nothing behind.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from globalprune.apply.compensator import Compensation, read_windows, solve
from globalprune.apply.doubts import doubts_of
from globalprune.apply.explain import Explanation, explanation_of
from globalprune.apply.preparation import Prepared, prepare
from globalprune.apply.record_folder import find_analysis, write_records
from globalprune.apply.steps import promised
from globalprune.apply.verification import verify
from globalprune.apply.walk import walk
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.artifacts.results.metrics import ApplyMetrics, ApplyResult, CutModel, widths_of
from globalprune.artifacts.staging import staged_folder
from globalprune.artifacts.writer_lock import sole_writer
from globalprune.card.writing import write_card
from globalprune.compensation.solved_weights import SolvedHalves
from globalprune.errors import ApplyError, UsageError
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import weights_fingerprint
from globalprune.models.checkpoints.gguf_header import quantisation_of
from globalprune.models.checkpoints.output_folder import refuse_place
from globalprune.progress import Progress, silent


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


@sole_writer("out")
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
        solved = SolvedHalves(compensation.work.keyed(text=repaired.text.digest))
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
                folder, name=out.resolve().name, licence_from=prepared.checkpoint.companions
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
    refuse_place(
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
    return sum(facts.bytes for facts in promised(prepared.steps).values())


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
    expected = promised(prepared.steps)
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
