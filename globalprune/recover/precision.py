"""In what precision a run computes, and in what it holds the weights that it changes."""

from dataclasses import dataclass
from typing import Literal, cast

import torch

from globalprune.artifacts.results.finetuning import Method
from globalprune.errors import UsageError
from globalprune.models.placement import DTYPES, choose_placement

PrecisionName = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Arithmetic:
    """Mixed precision is Trainer's and accelerate's; this says what they are given."""

    name: PrecisionName
    on_cpu: bool
    weights: torch.dtype  # of the model that is trained
    frozen: torch.dtype  # of a teacher


def choose_arithmetic(device: str | None, dtype: str | None, method: Method) -> Arithmetic:
    """float32 on a CPU, bfloat16 on a GPU; weights that are trained themselves are float32.

    Under LoRA only the adapters are trained, which peft keeps in float32, so the frozen weights may
    be as short as the arithmetic. Raise `UsageError` for a device that can't be asked for.
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
    return Arithmetic(cast("PrecisionName", name), on_cpu, weights, DTYPES[name])
