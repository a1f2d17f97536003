"""What finetuning says: every run since the cut, and the loss of the last one."""

from collections.abc import Iterator, Sequence

from globalprune.artifacts.results.finetuning import LossPoint, RecoveryRecord, RecoveryRun
from globalprune.report.content import Block, Facts, Part, commands, warnings
from globalprune.report.result_pictures import loss_picture
from globalprune.report.wording import duration, model_phrase, provenance, text_phrase


def recovery_part(record: RecoveryRecord, curve: Sequence[LossPoint]) -> Part:
    """Run after run; `curve` is of the last."""
    blocks: list[Block] = []
    for number, run in enumerate(record.runs, start=1):
        if len(record.runs) > 1:
            blocks.append(Facts((("run", f"{number} of {len(record.runs)}"),)))
        blocks += _run(run)
        if run is record.runs[-1] and curve:
            blocks += loss_picture(curve, mixed=run.teacher is not None)
        blocks += [*commands(run.command), _provenance(run)]
    return Part("recovery", "How it was finetuned", tuple(blocks))


def _run(run: RecoveryRun) -> Iterator[Block]:
    """Yield one run."""
    yield Facts(tuple(_facts(run)))
    yield from warnings(run.warnings)


def _facts(run: RecoveryRun) -> Iterator[tuple[str, str]]:
    """Yield what was trained, how, on what, and how the loss fell."""
    settings, lora = run.settings, run.settings.lora
    yield "model", model_phrase(run.model.source, run.model.revision)
    how = "all weights" if lora is None else f"LoRA, r {lora.r}, alpha {lora.alpha}"
    yield "trained", f"{how}: {run.trained_parameters:,} parameters"
    if run.teacher is not None:
        yield "teacher", model_phrase(run.teacher.source, run.teacher.revision)
    for part in run.data:
        yield "text", text_phrase(part.text)
    epochs = "one epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    yield (
        "steps",
        (
            f"{run.steps:,} ({epochs}) at learning rate {settings.learning_rate:g}, batch size "
            f"{settings.batch_size} × {settings.accumulate}, seed {settings.seed}"
        ),
    )
    yield "learned tokens", f"{run.learned_tokens:,} an epoch"
    yield "loss", f"{run.first_loss:.3f} → {run.last_loss:.3f} (first and last tenth of the steps)"
    yield "took", f"{duration(run.seconds)} in {settings.precision} on {run.device}"


def _provenance(run: RecoveryRun) -> Facts:
    """What the run is known again by."""
    digests = {
        "weights before": run.model.weights,
        "teacher": run.teacher.weights if run.teacher else None,
        "windows of text": run.data_digest,
        "weights after": run.weights,
    }
    return provenance(digests, run.versions)
