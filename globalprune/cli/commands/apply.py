"""`gp apply`: cut a model by a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.console import report_unfinished_on_interrupt
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.options import ApplyOptions


def apply(
    *,
    model: options.Model,
    plan: Annotated[
        Path,
        typer.Option(metavar="PLAN", help="The plan to apply: a .yaml file.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Folder for the smaller model; needed unless --explain is given.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show what the same command would do, and write nothing."),
    ] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="SRC",
            help="Evaluate the model before and after on all of this text: a file or folder, a Hub "
            "data set id, or `builtin`. For a part of it, run gp eval instead.",
            show_default=False,
        ),
    ] = None,
    analysis: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The analysis that the plan was made from; its record is kept in OUT.",
            show_default="the one that the plan names, if it is still there",
        ),
    ] = None,
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate",
            help="Recompute what stays of o_proj, down_proj, gate and up, layer by layer, and the "
            "final norm, so that on the text the cut model's outputs match MODEL's; no training, "
            "same shapes. Loads MODEL.",
        ),
    ] = False,
    data: options.CompensationText = None,
    samples: options.CompensationSamples = None,
    seq_len: options.SeqLen = None,
    batch_size: options.BatchSize = 4,
    seed: options.Seed = 0,
    gate_steps: options.GateSteps = None,
    finetune: options.Finetune = None,
    finetune_data: options.FinetuneData = None,
    finetune_samples: options.TrainingSamples = None,
    finetune_seq_len: options.SeqLen = None,
    finetune_epochs: options.Epochs = None,
    finetune_lr: options.FinetuneRate = None,
    lora_r: options.LoraR = None,
    lora_alpha: options.LoraAlpha = None,
    distil: options.Distil = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    save_dtype: options.SaveDtype = None,
    resume: options.Resume = False,
    overwrite: options.OverwriteResult = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a model by a plan, and write what is left as a model that loads like any other.

    The weights are copied shard by shard, so memory holds one shard and not the model. The result
    is opened again and compared with the plan before it takes its place; an error leaves nothing.
    With --compensate, memory holds MODEL too, and --resume keeps the layers that are compensated.

    Example:  gp apply MODEL --plan analysis/plan.yaml -o smaller --compensate --data wiki.txt
    """
    from globalprune import api
    from globalprune.artifacts.results.cut import GATE_STEPS, CompensationRequest
    from globalprune.artifacts.stored_weights import parse_save_dtype
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.finetune_options import ExplicitSettings, choose_finetuning
    from globalprune.cli.result_text import show_result
    from globalprune.options import ApplyOptions

    prepared = options.prunable_model(model)
    explicit = ExplicitSettings(
        samples=finetune_samples,
        seq_len=finetune_seq_len,
        epochs=finetune_epochs,
        learning_rate=finetune_lr,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
    )
    request = None
    if compensate:
        request = CompensationRequest(
            data=data,
            samples=samples,
            seq_len=seq_len,
            seed=seed,
            gate_steps=GATE_STEPS if gate_steps is None else gate_steps,
            batch_size=batch_size,
        )
    else:
        _refuse_without_compensation(data, samples, seq_len, gate_steps)
    apply_options = ApplyOptions(
        analysis=analysis,
        compensation=request,
        finetune=choose_finetuning(finetune, explicit, data=finetune_data, distil=distil),
        evaluate=evaluate,
        device=device,
        dtype=dtype,
        save_dtype=parse_save_dtype(save_dtype),
        resume=resume,
        overwrite=overwrite,
    )
    if resume and not apply_options.in_stages:
        raise UsageError("--resume: a cut alone keeps nothing to resume; leave it out.")
    if out is None and not explain:
        raise UsageError("-o OUT is missing: name a folder for the smaller model, or --explain.")
    if out is None or explain:
        _explain(prepared, plan, out, apply_options, as_json=as_json)
        return
    out = out.expanduser()
    with writer_lock(out), report_unfinished_on_interrupt(out), console.reporting() as reporter:
        result = api.apply(prepared, plan, out, apply_options, reporter=reporter)
    show_result(result, as_json=as_json)


def _refuse_without_compensation(*values: str | int | None) -> None:
    """Raise `UsageError` for options that only compensation reads."""
    names = ("--data", "--samples", "--seq-len", "--gate-steps")
    given = [name for name, value in zip(names, values, strict=True) if value is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)}: only --compensate reads that; say it too, or leave it out "
            "(text to learn is --finetune-data, text to evaluate on is --eval)."
        )


def _explain(
    model: "PreparedModel",
    plan: Path,
    out: Path | None,
    apply_options: "ApplyOptions",
    *,
    as_json: bool,
) -> None:
    """Print the steps of the run; raise what the run would raise."""
    from globalprune.pipeline.apply import explain_plan

    explanation, notes = explain_plan(model, plan, out and out.expanduser(), apply_options)
    for warning in explanation.warnings:
        console.warn(warning)
    if as_json:
        console.print_json(explanation.document)
    else:
        console.print_text("\n".join(explanation.lines))
    for note in notes:
        console.note(note)
