"""Presets of finetuning, and the precision that a device can train in."""

from dataclasses import dataclass
from typing import Final, Literal, cast

import torch

from globalprune.artifacts.results.finetuning import FinetuneSettings, LoraSettings, Method
from globalprune.errors import UsageError
from globalprune.models.placement import DTYPES, choose_placement

FINETUNE_PRESETS: Final[dict[str, FinetuneSettings]] = {
    "light": FinetuneSettings(samples=500, lora=LoraSettings(r=8, alpha=16)),  # below 20 %
    "moderate": FinetuneSettings(samples=1000, lora=LoraSettings(r=16, alpha=32)),  # to 30 %
    "aggressive": FinetuneSettings(method="full", samples=2000, learning_rate=1e-5, lora=None),
}
METHODS: Final[dict[str, FinetuneSettings]] = {
    "lora": FINETUNE_PRESETS["light"],  # the founding defaults
    "full": FinetuneSettings(method="full", lora=None),
}
NAMED_SETTINGS: Final = METHODS | FINETUNE_PRESETS
PrecisionName = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Precision:
    """The precision that Trainer and accelerate train in, and the dtypes that models load in."""

    name: PrecisionName
    on_cpu: bool
    weights: torch.dtype  # of the model that is trained
    frozen: torch.dtype  # of a teacher


def settings_named(name: str) -> FinetuneSettings:
    """The settings of a method or a preset; raise `UsageError` for any other name."""
    if name not in NAMED_SETTINGS:
        raise UsageError(f"{name}: is no way to finetune; there are {', '.join(NAMED_SETTINGS)}.")
    return NAMED_SETTINGS[name]


def choose_precision(device: str | None, dtype: str | None, method: Method) -> Precision:
    """Choose float32 on a CPU and bfloat16 on a GPU, unless `dtype` says otherwise.

    Full finetuning keeps its weights in float32. LoRA trains only the adapters, which peft keeps in
    float32, so the frozen weights have the precision's own dtype. Raise `UsageError` for a device
    or a dtype that can't be trained on.
    """
    kind = (device or "").partition(":")
    if device is not None and device not in ("cpu", "cuda"):
        raise UsageError(
            f"--device {device}: finetuning takes cpu or cuda; choose among GPUs with "
            f"CUDA_VISIBLE_DEVICES={kind[2] or '0'}, and use several with accelerate launch."
        )
    placement = choose_placement(device, dtype)
    on_cpu = placement.device == "cpu"
    name = dtype or ("float32" if on_cpu else "bfloat16")
    if on_cpu and name == "float16":
        raise UsageError("--dtype float16: can't be trained in on a cpu; say float32.")
    weights = torch.float32 if method == "full" else DTYPES[name]
    return Precision(cast("PrecisionName", name), on_cpu, weights, DTYPES[name])
