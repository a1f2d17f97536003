"""`gp prune`: analyze, plan and apply in a row, and finetune and eval on request."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.console import report_unfinished_on_interrupt

if TYPE_CHECKING:
    from globalprune.planning.planner import PlanResult


def prune(
    *,
    model: options.Model,
    ratio: Annotated[
        float,
        options.ratio_option("Fraction of all parameters to remove.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="OUT", help="Folder for the smaller model.", show_default=False
        ),
    ],
    data: options.MeasuredText = None,
    samples: options.MeasuredSamples = None,
    seq_len: options.SeqLen = None,
    batch_size: options.BatchSize = 4,
    seed: options.Seed = 0,
    preset: Annotated[
        str,
        typer.Option(
            metavar="founding|fast|best",
            help="founding: taylor, no compensation. fast: obs, output projections compensated. "
            "best: obs_measured, gate and up compensated too; two to three times as long.",
        ),
    ] = "fast",
    importance: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"{options.IMPORTANCES}.", show_default="the preset's"),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Plans on the way to the ratio; each is measured on what the last one leaves.",
            show_default="1",
        ),
    ] = None,
    compensate: Annotated[
        bool | None,
        typer.Option(
            "--compensate/--no-compensate",
            help="Compensate the weights that are left, on the text that is measured with.",
            show_default="the preset's",
        ),
    ] = None,
    gate_steps: Annotated[
        int | None,
        typer.Option(
            help="Gauss-Newton steps that gate and up of every MLP may take in compensation.",
            show_default="the preset's: fast 0, best 1",
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
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="SRC",
            help="Evaluate MODEL, the cut model and the finetuned one on all of this text.",
            show_default=False,
        ),
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    save_dtype: options.SaveDtype = None,
    resume: options.Resume = False,
    largest: options.Largest = False,
    overwrite: options.OverwriteResult = False,
    as_json: options.AsJson = False,
) -> None:
    """Analyze, plan, cut and compensate a model, and finetune and evaluate the result on request.

    Each phase does what its own command does, and its files are in OUT/globalprune/: the table, the
    plan, every record. Plan another ratio from there: gp plan OUT/globalprune --ratio 0.3. If the
    plan costs clearly more than other cuts of its size, nothing is cut; analysis and plan are then
    in OUT.analysis, and the exit code is 1.

    Example:  gp prune MODEL --ratio 0.2 --preset best --data wiki.txt -o smaller --eval builtin
    """
    from globalprune import api
    from globalprune.artifacts.stored_weights import parse_save_dtype
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.finetune_options import ExplicitSettings, choose_finetuning
    from globalprune.cli.plan_text import raise_if_short
    from globalprune.cli.result_text import show_result
    from globalprune.options import PruneOptions

    prepared = options.prunable_model(model)
    explicit = ExplicitSettings(
        samples=finetune_samples,
        seq_len=finetune_seq_len,
        epochs=finetune_epochs,
        learning_rate=finetune_lr,
        seed=seed if finetune else None,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
    )
    training_data = finetune_data or ([data] if finetune and data else None)
    prune_options = PruneOptions(
        ratio,
        data=data,
        samples=samples,
        seq_len=seq_len,
        batch_size=batch_size,
        seed=seed,
        preset=preset,
        importance=importance,
        rounds=rounds,
        compensate=compensate,
        gate_steps=gate_steps,
        finetune=choose_finetuning(finetune, explicit, data=training_data, distil=distil),
        evaluate=evaluate,
        device=device,
        dtype=dtype,
        save_dtype=parse_save_dtype(save_dtype),
        largest=largest,
        resume=resume,
        overwrite=overwrite,
    )
    plans: list[PlanResult] = []

    def show_plan(written: "PlanResult") -> None:
        plans.append(written)
        _show_plan(written)

    out = out.expanduser()
    with writer_lock(out), report_unfinished_on_interrupt(out), console.reporting() as reporter:
        result = api.prune(prepared, out, prune_options, on_plan=show_plan, reporter=reporter)
    show_result(result, as_json=as_json)
    raise_if_short(plans)


def _show_plan(written: "PlanResult") -> None:
    """Print what the plan removes; raise `BudgetError` for a plan that was not written."""
    from globalprune.cli.plan_text import finish, print_warnings
    from globalprune.planning.summary import removal_text

    if not written.written:
        finish([written], remedy="--resume --largest")
    console.say(removal_text(written.effect))
    print_warnings([written])
