"""`gp finetune`: finetune a model, cut or not."""

from pathlib import Path
from typing import Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.console import report_unfinished_on_interrupt


def finetune(
    *,
    model: options.AnyModel,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="Folder to write.", show_default=False),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            metavar="lora|full", help="Train adapters, or all weights.", show_default="lora"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="light (under 20 % cut: lora, 500 windows, r 8, alpha 16), moderate (20 to 30 %: "
            "lora, 1000, r 16, alpha 32) or aggressive (over: full, 2000, lr 1e-5). Other "
            "options override it.",
            show_default=False,
        ),
    ] = None,
    data: options.TrainingData = None,
    samples: options.TrainingSamples = None,
    seq_len: options.SeqLen = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Windows that run at once on a device.", show_default="4"),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(help="Batches in one step of the optimiser.", show_default="1"),
    ] = None,
    lora_r: options.LoraR = None,
    lora_alpha: options.LoraAlpha = None,
    lora_dropout: Annotated[
        float | None, typer.Option(help="Dropout before the adapters.", show_default="0.05")
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Linear modules that get adapters, such as q_proj,v_proj.",
            show_default="all in the layers",
        ),
    ] = None,
    keep_adapter: Annotated[
        bool,
        typer.Option("--keep-adapter", help="Write the adapter alone; by default it is merged."),
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Learn from this model's next-token probabilities too: the unpruned one.",
            show_default=False,
        ),
    ] = None,
    distil_weight: Annotated[
        float | None,
        typer.Option(help="The teacher's part of the loss; 1 is all of it.", show_default="0.5"),
    ] = None,
    distil_top_k: Annotated[
        int | None,
        typer.Option(help="Tokens of the teacher that are compared.", show_default="64"),
    ] = None,
    distil_temperature: Annotated[
        float | None, typer.Option(help="Softens both distributions.", show_default="1.0")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the windows, their order, and the adapters' first values.")
    ] = 0,
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Less memory, a third more time (checkpointing)."),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda.", show_default="cuda if there is one")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Precision of the arithmetic: float32, bfloat16 or float16.",
            show_default="float32 on cpu, bfloat16 elsewhere",
        ),
    ] = None,
    resume: options.Resume = False,
    trust_remote_code: options.TrustRemoteCode = False,
    overwrite: options.OverwriteResult = False,
    as_json: options.AsJson = False,
) -> None:
    """Finetune a model, cut or not, and write it as a model that loads like any other.

    Windows are full, without padding; of conversations only what the assistant says is learned.
    Training is transformers' Trainer: `accelerate launch -m globalprune finetune …` runs it on
    several GPUs. An interrupted run continues with --resume, to the same result.

    Example:  gp finetune smaller -o finetuned --data wiki.txt --teacher MODEL
    """
    from globalprune import api
    from globalprune.artifacts.writer_lock import writer_lock
    from globalprune.cli.finetune_options import ExplicitSettings, choose_settings
    from globalprune.cli.result_text import finetuning_summary
    from globalprune.options import FinetuneOptions

    student = options.readable_model(model)
    explicit = ExplicitSettings(
        method=method,
        preset=preset,
        samples=samples,
        seq_len=seq_len,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        accumulate=accumulate,
        seed=seed,
        recompute=recompute,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        lora_targets=lora_targets,
        distil_weight=distil_weight,
        distil_top_k=distil_top_k,
        distil_temperature=distil_temperature,
    )
    finetune_options = FinetuneOptions(
        settings=choose_settings(explicit, has_teacher=teacher is not None),
        data=tuple(data or ()),
        teacher=teacher,
        keep_adapter=keep_adapter,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        resume=resume,
        overwrite=overwrite,
    )
    with (
        writer_lock(out, ranks_share=True),
        report_unfinished_on_interrupt(out),
        console.reporting() as reporter,
    ):
        run = api.finetune(student, out, finetune_options, reporter=reporter)
    if run is None:  # another process of the same launch writes and prints
        return
    if as_json:
        console.print_json(run.model_dump(mode="json"))
    else:
        console.print_text(f"{out}: {finetuning_summary(run)}")
