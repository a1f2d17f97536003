"""`gp apply`: cut a model by a plan."""

from pathlib import Path
from typing import Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.interruption import telling_of_unfinished
from globalprune.errors import UsageError


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

    Example:  gp apply MODEL --plan analysis/plan.yaml -o smaller --eval builtin
    """
    from globalprune.cli.outcome_text import show_outcome
    from globalprune.cli.recovery_options import RecoveryOptions, choose_recovery
    from globalprune.pipeline.cut_and_judge import cut_and_judge
    from globalprune.pipeline.cut_and_recover import cut_and_recover
    from globalprune.pipeline.cutting import Cutting
    from globalprune.pipeline.refusals import refuse_later_phases

    said = RecoveryOptions(
        samples=finetune_samples,
        seq_len=finetune_seq_len,
        epochs=finetune_epochs,
        learning_rate=finetune_lr,
        lora={"r": lora_r, "alpha": lora_alpha},
    )
    recovery = choose_recovery(finetune, said, data=finetune_data, distil=distil)
    if resume and recovery is None:
        raise UsageError("--resume: a cut alone has nothing to go on with; leave it out.")
    if out is None and not explain:
        raise UsageError("-o OUT is missing: name a folder for the smaller model, or --explain.")
    place = (out or Path("unnamed")).expanduser()
    with telling_of_unfinished(place), console.progress_bars() as progress:
        cutting = Cutting(
            model,
            place,
            analysis=analysis,
            device=device,
            dtype=dtype,
            overwrite=overwrite,
            resume=resume,
            command=console.command_line(),
            warn=console.warn,
            progress=progress,
        )
        if explain:
            refuse_later_phases(cutting, recovery, evaluate)
            _explain(model, plan, out, analysis, overwrite=overwrite, as_json=as_json)
            return
        if recovery is None:
            outcome = cut_and_judge(cutting, plan, evaluate=evaluate)
        else:
            outcome = cut_and_recover(cutting, plan, recovery=recovery, evaluate=evaluate)
    show_outcome(outcome, as_json=as_json)


def _explain(
    model: str,
    plan: Path,
    out: Path | None,
    analysis: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Print the steps, unless the run itself would be refused."""
    from globalprune.apply.executor import explain_plan

    explanation = explain_plan(model, plan, out, analysis=analysis, overwrite=overwrite)
    for warning in explanation.document["warnings"]:
        console.say(f"warning: {warning}")
    if as_json:
        console.print_json(explanation.document)
    else:
        console.print_text("\n".join(explanation.lines))
