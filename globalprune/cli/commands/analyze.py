"""`gp analyze`: measure what every group of a model is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.console import report_unfinished_on_interrupt
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import AnalysisRecord


def analyze(
    *,
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder to write.", show_default=False),
    ],
    data: options.MeasuredText = None,
    samples: options.MeasuredSamples = None,
    seq_len: options.SeqLen = None,
    batch_size: options.BatchSize = 4,
    seed: options.Seed = 0,
    importance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"{options.IMPORTANCES}. Repeat it to measure more in the same pass; the table is "
            "scored by the first.",
            show_default="fisher",
        ),
    ] = None,
    normaliser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{options.NORMALISERS} It acts on the first importance.",
            show_default="none for importances in nats, mean for wanda and magnitude",
        ),
    ] = None,
    ratio: Annotated[
        float | None,
        options.ratio_option(
            "Fraction of all parameters that the first plan removes.", show_default="0.25"
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="A:B",
            help="Measure and cut only layers A up to, not including, B.",
            show_default="all",
        ),
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN",
            help="Measure what this plan leaves; the groups that it removes are worth nothing, so "
            "that the next plan removes them first.",
            show_default="nothing is decided",
        ),
    ] = None,
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate",
            help="With --given: measure it as gp apply --compensate would leave it, on the same "
            "text.",
        ),
    ] = False,
    gate_steps: options.GateSteps = None,
    labels: Annotated[
        str,
        typer.Option(
            metavar="text|sampled",
            help="Next tokens that gradients are taken of: the text's own, or drawn from the model "
            "itself with --seed, which makes fisher the true Fisher information.",
        ),
    ] = "text",
    device: options.Device = None,
    dtype: options.Dtype = None,
    trust_remote_code: options.TrustRemoteCode = False,
    largest: options.Largest = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the interrupted run in DIR.unfinished."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an analysis in DIR and its plan.yaml, even an edited one (its pins are "
            "kept), or an interrupted run of it.",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure what every group of a model is worth, and write it down.

    DIR gets groups.parquet (importance, cost and score of every attention group and MLP channel),
    analysis.json (what was measured on what, and how), a first plan.yaml, and a description and a
    log for people. The model runs once over the text, whatever the number of importances. A long
    run saves its work in DIR.unfinished about once a minute, and --resume continues from there, to
    the same numbers. At the end the first plan and other cuts of its size are tried on text that
    nothing was measured with; an analysis whose plan costs clearly more than they do is doubted. If
    --ratio can't be reached, the analysis stays and no plan is written; the exit code is 1, or 0
    for the default ratio.

    Example:  gp analyze MODEL -o analysis --data wiki.txt --samples 128 --seq-len 512
    """
    from globalprune import api
    from globalprune.artifacts.results.cut import GATE_STEPS
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.plan_text import finish, plan_document, plan_lines
    from globalprune.options import DEFAULT_IMPORTANCE, DEFAULT_RATIO, AnalyzeOptions

    prepared = options.prunable_model(model)
    if gate_steps is not None and not compensate:
        raise UsageError("--gate-steps: is for --compensate; say that too, or leave it out.")
    analyze_options = AnalyzeOptions(
        data=data,
        samples=samples,
        seq_len=seq_len,
        batch_size=batch_size,
        seed=seed,
        importances=tuple(importance or (DEFAULT_IMPORTANCE,)),
        normaliser=normaliser,
        layers=layers,
        labels=labels,
        prior_plan=given,
        compensate=compensate,
        gate_steps=GATE_STEPS if gate_steps is None else gate_steps,
        ratio=DEFAULT_RATIO if ratio is None else ratio,
        largest=largest,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        resume=resume,
        overwrite=overwrite,
    )
    with writer_lock(out), report_unfinished_on_interrupt(out), console.reporting() as reporter:
        result = api.analyze(prepared, out, analyze_options, reporter=reporter)
    record, written = result.analysis.record, result.plan
    for warning in record.warnings:
        console.warn(warning)
    if as_json:
        document = {**record.model_dump(mode="json"), "plan": plan_document(written)}
        console.print_json({"doubt": record.doubt, **document})
    else:
        lines = [_summary(record, out), *plan_lines([written])]
        console.print_text("\n".join([*filter(None, [record.doubt]), *lines]))
    finish([written], by_default=ratio is None, remedy="gp plan --largest")


def _summary(record: "AnalysisRecord", out: Path) -> str:
    """Return lines that say what was measured, and where the analysis is."""
    from globalprune.artifacts.analyses.reliability import trial_text
    from globalprune.artifacts.formatting import describe_text

    model = record.model
    sublayers = record.structure.sublayers()
    groups = sum(
        sublayer.candidates for layer, _, sublayer in sublayers if layer in record.measured
    )
    share = f"{100 * record.removable / model.parameters:.1f} %"
    return (
        f"{out}: {groups:,} groups of {model.source} measured by {', '.join(record.methods)}\n"
        f"  {describe_text(record.calibration)}, {record.seconds:.0f} s; they hold "
        f"{record.removable:,} of {model.parameters:,} parameters ({share})\n"
        f"{_agreement(record)}\n"
        f"  trial: {trial_text(record.trial)}"
    )


def _agreement(record: "AnalysisRecord") -> str:
    """Return a line for each importance: how far the two halves of the windows agree on it."""
    from globalprune.artifacts.analyses.reliability import agreement

    lines = [
        f"  both halves of the windows on {name}: {agreement(reliability)}"
        for name, reliability in record.reliability.items()
    ]
    return "\n".join(lines) or "  one window can't be halved, so no reliability is known"
