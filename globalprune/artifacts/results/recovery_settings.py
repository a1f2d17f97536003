"""How a model is finetuned, as a record: what a run was asked is what its record says."""

from typing import Literal

from pydantic import Field, model_validator

from globalprune.artifacts.record import Record

Method = Literal["lora", "full"]


class LoraSettings(Record):
    """Low-rank adapters: W + (alpha / r) · B·A, of which A and B are trained."""

    r: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] | None = None  # names of linear modules; None: all in the layers


class DistillationSettings(Record):
    """What is learned from a teacher beside the text: its most likely next tokens.

    The loss is (1 - weight) · cross-entropy + weight · T² · KL(teacher ‖ student), both at
    temperature T, over the teacher's `top_k` tokens and the rest as one.
    """

    top_k: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    weight: float = Field(default=0.5, gt=0, le=1)


class RecoverySettings(Record):
    """Everything that decides what a finetuning run computes, but for model and text."""

    method: Method = "lora"
    samples: int = Field(default=500, ge=1)
    seq_len: int = Field(default=512, ge=2)
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    batch_size: int = Field(default=4, ge=1)  # windows that run at once on one device
    accumulate: int = Field(default=1, ge=1)  # batches to one step of the optimiser
    warmup: float = Field(default=0.03, ge=0, lt=1)  # of the steps; then falls linearly to 0
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    recompute: bool = False  # activations in the backward pass: less memory, a third more time
    lora: LoraSettings | None = LoraSettings()  # None where the method is full
    distillation: DistillationSettings | None = None

    @model_validator(mode="after")
    def _one_method(self) -> "RecoverySettings":
        """Refuse adapters in a full run, and LoRA without them."""
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError("`lora` belongs to the method lora, and to it alone")
        return self
