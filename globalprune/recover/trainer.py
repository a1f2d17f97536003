"""transformers' Trainer, set up for recovery: its loop, its checkpoints, accelerate's devices.

What is ours: the part of the loss that a teacher gives, and bars instead of prints.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from globalprune.artifacts.recovery_settings import RecoverySettings
from globalprune.progress import Progress
from globalprune.recover.distillation import distillation_sum
from globalprune.recover.windows import TrainingWindows, stack
from globalprune.text.training import IGNORED

KEPT_CHECKPOINTS = 2  # the last may be half written when the machine dies
CHECKPOINTS_A_RUN = 10


class RecoveryTrainer(Trainer):
    """A Trainer whose loss may have a second part: what the teacher would have said."""

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        windows: TrainingWindows,
        settings: RecoverySettings,
        teacher: Any,
        progress: Progress,
    ) -> None:
        super().__init__(model, arguments, data_collator=stack, train_dataset=windows)
        self.pop_callback(PrinterCallback)
        self.add_callback(_Bar(progress))
        self._settings = settings
        self._teacher = None if teacher is None else teacher.to(arguments.device)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy, mixed with the divergence from the teacher if there is one."""
        learned = inputs["labels"][:, 1:] != IGNORED
        count = learned.sum() if num_items_in_batch is None else num_items_in_batch
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=count
        )
        recipe = self._settings.distillation
        if recipe is not None and self._teacher is not None:
            with torch.no_grad():
                taught = self._teacher(input_ids=inputs["input_ids"], use_cache=False).logits
            divergence = distillation_sum(outputs.logits[:, :-1], taught[:, :-1], learned, recipe)
            # every process divides by the tokens of all, and the mean over processes is taken
            share = self.accelerator.num_processes / count
            loss = (1 - recipe.weight) * loss + recipe.weight * share * divergence
        return (loss, outputs) if return_outputs else loss


class _Bar(TrainerCallback):
    """Moves a bar behind every step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps: Iterator[int] | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin with the first step that is run, which is a later one where a run is resumed."""
        del args, control, kwargs
        if self._steps is None and state.is_world_process_zero:
            left = range(state.global_step, state.max_steps)
            self._steps = self._progress(left, total=len(left), label="finetuning", unit="steps")
        if self._steps is not None:
            next(self._steps)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the bar end."""
        del args, state, control, kwargs
        if self._steps is not None:
            list(self._steps)


def training_arguments(
    folder: Path, settings: RecoverySettings, windows: TrainingWindows, *, use_cpu: bool
) -> TrainingArguments:
    """Trainer's arguments for these settings; a checkpoint after every tenth of the steps.

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
        dataloader_pin_memory=not use_cpu,
        logging_steps=1,
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
    arguments.save_strategy, arguments.save_steps = "steps", max(1, steps // CHECKPOINTS_A_RUN)
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
