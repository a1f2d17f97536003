"""transformers' Trainer, set up for recovery: its loop, its checkpoints, accelerate's devices.

What is ours: the loss, which may have a teacher's part, and bars instead of prints. A loss that is
not finite ends the run, since nothing good comes behind it.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from globalprune.artifacts.results.finetuning import RecoverySettings
from globalprune.errors import NonFiniteError
from globalprune.progress import Progress
from globalprune.recover.distillation import distillation_sum
from globalprune.recover.windows import TrainingWindows, stack
from globalprune.text.token_rows import IGNORED


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
        self.model_accepts_loss_kwargs = True  # the loss below counts tokens, whatever the model
        self.pop_callback(PrinterCallback)
        self.add_callback(_Bar(progress))
        self.add_callback(_Watch())
        self._settings = settings
        self._teacher = None if teacher is None else teacher.to(arguments.device)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy, mixed with the divergence from the teacher if there is one.

        Both are sums, divided by the learned tokens of the whole step: of every batch that is
        accumulated, on every process. Their gradients are then averaged over the processes.
        """
        outputs = model(input_ids=inputs["input_ids"], use_cache=False)
        targets = inputs["labels"][:, 1:]
        loss = _cross_entropy_sum(outputs.logits[:, :-1], targets)
        recipe = self._settings.distillation
        if recipe is not None and self._teacher is not None:
            with torch.no_grad():
                taught = self._teacher(input_ids=inputs["input_ids"], use_cache=False).logits
            learned = targets != IGNORED
            divergence = distillation_sum(outputs.logits[:, :-1], taught[:, :-1], learned, recipe)
            loss = (1 - recipe.weight) * loss + recipe.weight * divergence
        count = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = loss * self.accelerator.num_processes / count
        return (loss, outputs) if return_outputs else loss


def _cross_entropy_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ nll over the targets `[B, T]` that count, in nats and float32."""
    rows = logits.reshape(-1, logits.shape[-1]).float()
    return functional.cross_entropy(
        rows, targets.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )


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


class _Watch(TrainerCallback):
    """Stops at the first loss that is not finite, before a checkpoint of it is written."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at what was logged."""
        del args, control
        loss = kwargs.get("logs", {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"finetuning: the loss of step {state.global_step} is {loss}; say a smaller --lr, "
                "or --dtype float32 or bfloat16, and check the model's weights."
            )
