"""`gp apply`: cut a model by a plan."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.interruption import telling_of_unfinished
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.pipeline.options import Cutting


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
        typer.Option("--explain", help="Say what the same command would do, and write nothing."),
    ] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="SRC",
            help="Judge the model before and after by all of this text: a file or folder, a Hub "
            "data set id, or `builtin`. For a part of it, run gp eval instead.",
            show_default=False,
        ),
    ] = None,
    analysis: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The analysis behind the plan, whose record is kept in OUT.",
            show_default="the one that the plan names, if it is still there",
        ),
    ] = None,
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate",
            help="Solve what stays of o_proj, down_proj, gate and up anew, layer by layer, and the "
            "final norm, so that on the text the model feels like it was; no training, same "
            "shapes. Loads MODEL.",
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
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a result that lies in OUT, or a stopped run."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a model by a plan, and write what is left as a model that loads like any other.

    The weights are copied shard by shard, so memory holds one shard and not the model. The result
    is opened again and compared with the plan before it takes its place; an error leaves nothing.
    With --compensate, memory holds MODEL too, and --resume goes on from the layers solved.

    Example:  gp apply MODEL --plan analysis/plan.yaml -o smaller --compensate --data wiki.txt
    """
    from globalprune.artifacts.results.compensation import GATE_STEPS, CompensationRequest
    from globalprune.artifacts.stored_weights import parse_save_dtype
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.finetune_options import RecoveryOptions, choose_recovery
    from globalprune.cli.result_text import show_outcome
    from globalprune.pipeline.cut import cut_and_judge, cut_and_recover
    from globalprune.pipeline.options import Cutting
    from globalprune.pipeline.preflight import refuse_compensation, refuse_later_phases

    said = RecoveryOptions(
        samples=finetune_samples,
        seq_len=finetune_seq_len,
        epochs=finetune_epochs,
        learning_rate=finetune_lr,
        lora={"r": lora_r, "alpha": lora_alpha},
    )
    recovery = choose_recovery(finetune, said, data=finetune_data, distil=distil)
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
    in_stages = recovery is not None or request is not None
    if resume and not in_stages:
        raise UsageError("--resume: a cut alone has nothing to go on with; leave it out.")
    if out is None and not explain:
        raise UsageError("-o OUT is missing: name a folder for the smaller model, or --explain.")
    place = (out or Path("unnamed")).expanduser()
    lock = nullcontext() if explain else writer_lock(place)
    with lock, telling_of_unfinished(place), console.progress_bars() as progress:
        cutting = Cutting(
            model,
            place,
            analysis=analysis,
            device=device,
            dtype=dtype,
            compensation=request,
            save_dtype=parse_save_dtype(save_dtype),
            overwrite=overwrite,
            resume=resume,
            command=console.command_line(),
            warn=console.warn,
            progress=progress,
        )
        if explain:
            refuse_later_phases(cutting, recovery, evaluate)
            refuse_compensation(cutting)
            _explain(cutting, plan, named=out is not None, as_json=as_json)
            _advise(plan, compensating=request is not None)
            return
        if in_stages:
            outcome = cut_and_recover(cutting, plan, recovery=recovery, evaluate=evaluate)
        else:
            outcome = cut_and_judge(cutting, plan, evaluate=evaluate)
    show_outcome(outcome, as_json=as_json)
    _advise(plan, compensating=request is not None)


def _advise(plan: Path, *, compensating: bool) -> None:
    """Say it where the plan, which was read before, would gain by a repair."""
    from globalprune.artifacts.plans.plan_file import read_plan
    from globalprune.surgery.prepare import repair_advice

    if advice := repair_advice(read_plan(plan), compensating=compensating):
        console.note(advice)


def _refuse_without_compensation(*values: str | int | None) -> None:
    """Raise `UsageError` for options that only compensation reads."""
    names = ("--data", "--samples", "--seq-len", "--gate-steps")
    given = [name for name, value in zip(names, values, strict=True) if value is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)}: only --compensate reads that; say it too, or leave it out "
            "(text to learn is --finetune-data, text to judge by is --eval)."
        )


def _explain(cutting: "Cutting", plan: Path, *, named: bool, as_json: bool) -> None:
    """Print the steps, unless the run itself would be refused; `named`: OUT is known."""
    from globalprune.surgery.executor import explain_plan

    explanation = explain_plan(
        cutting.model,
        plan,
        cutting.out if named else None,
        analysis=cutting.analysis,
        overwrite=cutting.overwrite,
        compensation=cutting.compensation,
        save_dtype=cutting.save_dtype,
    )
    for warning in explanation.document["warnings"]:
        console.warn(warning)
    if as_json:
        console.print_json(explanation.document)
    else:
        console.print_text("\n".join(explanation.lines))
