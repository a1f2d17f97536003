"""Parameters, bytes, KV cache and memory of a model, and the hardware of this machine."""

import ctypes
import gc
import json
import platform
import re
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel

from globalprune.artifacts.evaluations.evaluation import Hardware
from globalprune.artifacts.plans.plan import Budgets
from globalprune.models.checkpoints.lora_checkpoint import ADAPTER_WEIGHTS
from globalprune.models.sources.source import ModelSource

_RESET_PEAK: Final = "5"  # proc(5): clear_refs sets the peak resident set back
_STATUS: Final = Path("/proc/self/status")
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_CPU_INFO: Final = Path("/proc/cpuinfo")
CONTEXT: Final = Budgets().context  # tokens that a cache is counted for
_NONE: Final = Fraction(0)


def count_parameters(model: nn.Module) -> int:
    """Count the model's parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def source_weight_bytes(source: ModelSource) -> int:
    """The bytes of the weights on disk: the .gguf file, or the safetensors files that are loaded.

    The bytes of an adapter include those of its base model.
    """
    if source.adapter is not None:
        adapter = (source.adapter / ADAPTER_WEIGHTS).stat().st_size
        return adapter + source_weight_bytes(replace(source, adapter=None))
    if source.is_gguf:
        return source.path.stat().st_size
    single = source.path / "model.safetensors"
    if single.is_file():  # nobody reads an index beside it
        return single.stat().st_size
    index = source.path / "model.safetensors.index.json"
    names = set(json.loads(index.read_text())["weight_map"].values())
    return sum((source.path / name).stat().st_size for name in names)


def cache_bytes_per_token(
    model: PreTrainedModel, ids: torch.Tensor, removed: Fraction = _NONE
) -> int | None:
    """The bytes that the KV cache holds for a token of a context, or None for a model without one.

    They are counted in the cache that the model leaves after `ids` `[T]`. A layer with a window
    holds no more tokens than that. `removed` numbers a token are subtracted.
    """
    with torch.inference_mode():
        cache = getattr(
            model(input_ids=ids[None].to(model.device), use_cache=True), "past_key_values", None
        )
    if cache is None or not hasattr(cache, "layers"):
        return None
    bytes_held = sum((_bytes_per_token(layer) for layer in cache.layers), _NONE)
    return round(bytes_held - removed * model.dtype.itemsize)


class MemoryMeter:
    """Measures peak memory from now on: of the GPU if models run there, else of the process."""

    def __init__(self, device: str) -> None:
        self._on_cuda = device.startswith("cuda")
        self._device = device
        release_freed_memory()
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
        else:
            self._before = _resident("VmRSS") if _reset_resident_peak() else None

    def added_bytes(self) -> int | None:
        """The peak so far, above what was in use at the start; None where it can't be read."""
        if self._on_cuda:
            peak: int | None = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _resident("VmHWM")
        if peak is None or self._before is None:
            return None
        return max(0, peak - self._before)


def free_memory(device: str) -> int:
    """The bytes that are free on the device, once freed memory is given back."""
    release_freed_memory()
    if device.startswith("cuda"):
        free: int = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    return free


def release_freed_memory() -> None:
    """Give back the memory of freed models: cycles, the allocator's pages, the device's cache."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def describe_hardware(device: str) -> Hardware:
    """The name of the processor, its threads, and the GPU if the models run there."""
    on_gpu = device.startswith("cuda")
    return Hardware(
        cpu=_processor(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(device) if on_gpu else None,
    )


def _bytes_per_token(layer: Any) -> Fraction:
    """The bytes that a layer of a cache holds for a token, in the mean over `CONTEXT` tokens."""
    tensors = [
        tensor
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if tensor is not None
    ]
    window = layer.sliding_window if getattr(layer, "is_sliding", False) else CONTEXT
    held = Fraction(min(CONTEXT, window), CONTEXT)
    return sum((held * Fraction(t.numel() * t.element_size(), t.shape[-2]) for t in tensors), _NONE)


def _reset_resident_peak() -> bool:
    """Reset the high-water mark of resident memory; return False where the kernel can't."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    """The value of `VmRSS` or `VmHWM` in bytes; None where the kernel doesn't report it."""
    try:
        match = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def _processor() -> str:
    """The name of the processor, as exactly as the system reports it."""
    try:
        match = re.search(r"model name\s*:\s*(.+)", _CPU_INFO.read_text())
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()
