"""`gp sweep`: many plans of one model, one table and one curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.console import report_cached_on_interrupt
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.results.cut import CompensationRequest


def sweep(
    *,
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for table and curve.", show_default=False
        ),
    ],
    analysis: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Plan from this analysis at every --ratio.", show_default=False
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        options.ratio_option(
            "Fraction of all parameters to remove; repeatable.",
            show_default="0.1, 0.2, 0.3, 0.4, 0.5",
        ),
    ] = None,
    importance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Plan by the analysis's column importance_NAME; repeatable.",
            show_default="the one that the table is scored by",
        ),
    ] = None,
    plan: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PLAN",
            help="Also evaluate this plan of your own; repeatable.",
            show_default=False,
        ),
    ] = None,
    evaluate: Annotated[
        str,
        options.text_option(
            "Text to evaluate on",
            "the part of the Python manual that calibration never sees",
            name="--eval",
        ),
    ] = "builtin",
    eval_samples: Annotated[
        int | None, typer.Option(help="Windows to evaluate on, from the start.", show_default="all")
    ] = None,
    eval_seq_len: options.SeqLen = None,
    compensate: Annotated[
        bool | None,
        typer.Option(
            "--compensate/--no-compensate",
            help="Cut and compensate the model by every plan; or by none, with plans as masks.",
            show_default="plans whose importance counts on it",
        ),
    ] = None,
    data: options.CompensationText = None,
    samples: options.CompensationSamples = None,
    seq_len: options.SeqLen = None,
    batch_size: options.BatchSize = 4,
    seed: options.Seed = 0,
    gate_steps: options.GateSteps = None,
    largest: options.Largest = False,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Keep the cut models in DIR/models."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace plans in DIR/plans that were edited by hand."),
    ] = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    save_dtype: options.SaveDtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Evaluate many plans of one model on the same text: one table and one curve.

    Plans are evaluated as masks, without writing a model. By plans whose importance counts on
    compensation, the model is cut and compensated, one plan after the other, and what is cut is
    removed once it is evaluated. The same command continues after an interruption.

    Example:  gp sweep MODEL --analysis analysis --ratio 0.1 --ratio 0.3 --eval test.txt -o swept
    """
    from globalprune.artifacts.evaluations.sweep import (
        SWEEP_CURVE,
        sweep_markdown_lines,
        write_sweep,
    )
    from globalprune.artifacts.stored_weights import parse_save_dtype
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.plan_text import finish
    from globalprune.options import EvaluateOptions, SweepOptions
    from globalprune.pipeline.sweep import plan_sweep, sweep_plans
    from globalprune.report.drawing import can_draw
    from globalprune.report.evaluation import sweep_plot

    prepared = options.prunable_model(model)
    request = _compensation(
        compensate,
        data=data,
        samples=samples,
        seq_len=seq_len,
        seed=seed,
        gate_steps=gate_steps,
        batch_size=batch_size,
    )
    sweep_options = SweepOptions(
        analysis=analysis,
        ratios=tuple(ratio or ()),
        importances=tuple(importance or ()),
        plans=tuple(plan or ()),
        evaluate=EvaluateOptions(
            data=evaluate,
            samples=eval_samples,
            seq_len=eval_seq_len,
            batch_size=batch_size,
            speed=None,
            device=device,
            dtype=dtype,
        ),
        compensation=request,
        compensate_all=bool(compensate),
        keep_models=keep_models,
        save_dtype=parse_save_dtype(save_dtype),
        largest=largest,
        overwrite=overwrite,
    )
    out = out.expanduser()
    with writer_lock(out), report_cached_on_interrupt(out), console.reporting() as reporter:
        if not can_draw():
            console.say(
                f"note: no {SWEEP_CURVE}: matplotlib is missing (pip install globalprune[report])"
            )
        planned = plan_sweep(prepared, out, sweep_options, reporter=reporter)
        if planned and not plan and not any(one.written for one in planned):
            finish(planned)
        swept = sweep_plans(prepared, out, sweep_options, planned, reporter=reporter)
        write_sweep(out, swept, sweep_plot(swept) if can_draw() else None)
    if as_json:
        console.print_text(swept.model_dump_json(indent=2))
    else:
        console.print_text("\n".join(sweep_markdown_lines(swept)))
    finish(planned, by_default=ratio is None)


def _compensation(
    compensate: bool | None,
    *,
    gate_steps: int | None,
    batch_size: int,
    seed: int,
    **text: "str | int | None",
) -> "CompensationRequest | None":
    """Return how plans are compensated; raise `UsageError` for options that nothing reads."""
    from globalprune.artifacts.results.cut import GATE_STEPS, CompensationRequest

    if compensate is False:
        given = {**text, "gate_steps": gate_steps}
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')}: only compensation reads that (text to evaluate "
                    "on is --eval); leave it out, or --no-compensate."
                )
        return None
    steps = GATE_STEPS if gate_steps is None else gate_steps
    return CompensationRequest.model_validate(
        {**text, "seed": seed, "gate_steps": steps, "batch_size": batch_size}
    )
