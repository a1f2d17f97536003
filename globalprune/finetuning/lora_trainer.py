"""The Trainer, with LoRA adapters and top-k distillation."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from globalprune.artifacts.results.finetuning import (
    DistillationSettings,
    FinetuneSettings,
    LoraSettings,
)
from globalprune.errors import NonFiniteError, UsageError
from globalprune.finetuning.inputs import TrainingWindows, collate
from globalprune.models.quiet import quiet_peft
from globalprune.progress import Progress
from globalprune.text.rows import IGNORED_LABEL

DISTILLATION_CHUNK = 2**25  # logits that are compared at once; 128 MiB in float32
_LEAST = 1e-8  # probability of the rest: float32 is too coarse below it


class FinetuneTrainer(Trainer):
    """A Trainer whose loss may include the divergence from a teacher."""

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        windows: TrainingWindows,
        settings: FinetuneSettings,
        teacher: Any,
        progress: Progress,
    ) -> None:
        super().__init__(model, arguments, data_collator=collate, train_dataset=windows)
        self.model_accepts_loss_kwargs = True  # the loss below counts tokens, whatever the model
        self.pop_callback(PrinterCallback)
        self.add_callback(_ProgressCallback(progress))
        self.add_callback(_NonFiniteDetector())
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
            learned = targets != IGNORED_LABEL
            divergence = distillation_sum(outputs.logits[:, :-1], taught[:, :-1], learned, recipe)
            loss = (1 - recipe.weight) * loss + recipe.weight * divergence
        count = (
            (targets != IGNORED_LABEL).sum() if num_items_in_batch is None else num_items_in_batch
        )
        loss = loss * self.accelerator.num_processes / count
        return (loss, outputs) if return_outputs else loss


def add_adapters(model: Any, settings: LoraSettings) -> PeftModel:
    """Put adapters on the linear modules of the layers, and freeze everything else.

    Raise `UsageError` where `settings.targets` names a module that the layers don't have.
    """
    linears = dict(_linears(model))
    available = sorted(
        {n.rpartition(".")[2] for n, module in linears.items() if module.in_features}
    )
    if not available:
        raise UsageError(
            "--method lora: the model has no linear modules in its layers that adapters could go "
            "on; say --method full."
        )
    targets = list(settings.targets or available)
    if unknown := [name for name in targets if name not in available]:
        raise UsageError(
            f"--lora-targets {', '.join(unknown)}: the model's layers have no such linear module; "
            f"they have {', '.join(available)}."
        )
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        exclude_modules=_empty_linears(linears) or None,
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        adapted: PeftModel = get_peft_model(model, config)
    return adapted


def distillation_sum(
    student: torch.Tensor,
    teacher: torch.Tensor,
    learned: torch.Tensor,
    settings: DistillationSettings,
) -> torch.Tensor:
    """T² · Σ KL(teacher ‖ student) over the `learned` positions, in nats.

    `student` and `teacher` are logits `[B, T, V]`; `learned` `[B, T]` is true at positions whose
    next token counts. The sum is in float32, whatever the logits are (Hinton et al., 2015, with the
    teacher's top-k tokens and all others as one).
    """
    chosen, taught = student[learned], teacher[learned]
    step = max(1, DISTILLATION_CHUNK // student.shape[-1])
    total = student.new_zeros((), dtype=torch.float32)
    for start in range(0, len(chosen), step):
        rows, truth = chosen[start : start + step], taught[start : start + step]
        # recomputed in the backward pass, so that no chunk's float32 logits are kept for it
        part: torch.Tensor = checkpoint(_top_k_kl, rows, truth, settings, use_reentrant=False)
        total = total + part
    return total * settings.temperature**2


def _linears(model: Any) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the linear modules of the decoder layers with their full names.

    Of layers with experts only those of attention: peft would take all experts of a layer for one
    tensor.
    """
    inside = {name: one for name, one in model.named_modules() if ".layers." in name}
    mixed = any(".experts" in name for name in inside)
    for name, module in inside.items():
        if isinstance(module, nn.Linear) and not (mixed and ".mlp." in name):
            yield name, module


def _empty_linears(linears: dict[str, nn.Linear]) -> list[str]:
    """The linear modules of emptied sublayers: they have no inputs, and only a bias."""
    return [name for name, module in linears.items() if not module.in_features]


def _top_k_kl(
    student: torch.Tensor, teacher: torch.Tensor, settings: DistillationSettings
) -> torch.Tensor:
    """Σ KL of the rows `[N, V]`, over top-k tokens and the rest as one."""
    warm_student = student.float() / settings.temperature
    warm_teacher = teacher.float() / settings.temperature
    top, tokens = warm_teacher.topk(min(settings.top_k, teacher.shape[-1]), dim=-1)
    log_p = top - warm_teacher.logsumexp(-1, keepdim=True)
    log_q = warm_student.gather(-1, tokens) - warm_student.logsumexp(-1, keepdim=True)
    p_rest, q_rest = _rest(log_p), _rest(log_q)
    inside = (log_p.exp() * (log_p - log_q)).sum(-1)
    return (inside + p_rest * (p_rest.log() - q_rest.log())).sum()


def _rest(log_probabilities: torch.Tensor) -> torch.Tensor:
    """The probability of all tokens that are not listed."""
    return (1 - log_probabilities.exp().sum(-1)).clamp_min(_LEAST)


def _cross_entropy_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ nll over the targets `[B, T]` that count, in nats and float32."""
    rows = logits.reshape(-1, logits.shape[-1]).float()
    return functional.cross_entropy(
        rows, targets.reshape(-1), ignore_index=IGNORED_LABEL, reduction="sum"
    )


class _ProgressCallback(TrainerCallback):
    """Shows every step as progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps: Iterator[int] | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start with the first step that runs; a resumed run starts at a later one."""
        del args, control, kwargs
        if self._steps is None and state.is_world_process_zero:
            left = range(state.global_step, state.max_steps)
            self._steps = self._progress(left, total=len(left), label="finetuning", unit="steps")
        if self._steps is not None:
            next(self._steps)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the progress."""
        del args, state, control, kwargs
        if self._steps is not None:
            list(self._steps)


class _NonFiniteDetector(TrainerCallback):
    """Raises at the first loss that is not finite, before a checkpoint of it is written."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the logged loss."""
        del args, control
        loss = kwargs.get("logs", {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"finetuning: the loss of step {state.global_step} is {loss}; say a smaller --lr, "
                "or --dtype float32 or bfloat16, and check the model's weights."
            )
