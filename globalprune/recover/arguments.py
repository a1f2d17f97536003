"""Our settings in Trainer's words."""

from pathlib import Path
from typing import Any, Final

from transformers import TrainingArguments

from globalprune.artifacts.results.finetuning import RecoverySettings
from globalprune.recover.windows import TrainingWindows

KEPT_CHECKPOINTS: Final = 2  # the last may be half written when the machine dies
CHECKPOINT_BYTES: Final = 12  # of a trained parameter: float32, with two moments of AdamW
CHECKPOINTS_A_RUN: Final = 10


def training_arguments(
    folder: Path, settings: RecoverySettings, windows: TrainingWindows, *, use_cpu: bool
) -> TrainingArguments:
    """Trainer's arguments for these settings; a checkpoint after about every tenth of the steps.

    Windows of several lengths run one at a time, and as many are accumulated to a step.
    """
    batch, accumulate = settings.batch_size, settings.accumulate
    if windows.is_ragged:
        batch, accumulate = 1, batch * accumulate
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        use_cpu=use_cpu,
        average_tokens_across_devices=True,
        dataloader_pin_memory=not use_cpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would log a loss that is not finite as 0
        save_total_limit=KEPT_CHECKPOINTS,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # emptied halves hang on their input, so none is
        disable_tqdm=True,
        report_to="none",
    )
    if arguments.n_gpu > 1:  # one process takes one GPU; `accelerate launch` starts more
        arguments._n_gpu = 1  # noqa: SLF001 - DataParallel has no other switch
    steps = _steps(settings, arguments, len(windows))
    arguments.warmup_steps = round(settings.warmup * steps)
    arguments.save_steps = max(1, -(-steps // CHECKPOINTS_A_RUN))
    return arguments


def recompute_activations(model: Any) -> None:
    """Keep no activations inside layers for the backward pass; each is computed again there."""
    # transformers renamed it in 5.20; the old name warns
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
    model.enable_input_require_grads()


def _steps(settings: RecoverySettings, arguments: TrainingArguments, windows: int) -> int:
    """Steps of the optimiser in the whole run."""
    processes: int = arguments.world_size
    batches = -(-windows // (arguments.per_device_train_batch_size * processes))
    return settings.epochs * -(-batches // arguments.gradient_accumulation_steps)
