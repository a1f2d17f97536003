"""What a model costs: parameters, bytes on disk, tokens a second, memory.

Peak memory is what loading and running the model added to this process, so that models measured
one after the other in one process are measured alike: freed memory is first given back to the
system and the kernel's high-water mark is set back (Linux). Where that can't be done it is None,
never a guess. Noise is some tens of MB; a tiny model's figure means nothing.
"""

import ctypes
import gc
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from globalprune.models.source import ModelSource

_RESET_PEAK: Final = "5"  # proc(5): clear_refs sets the peak resident set back
_STATUS: Final = Path("/proc/self/status")
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")


def count_parameters(model: nn.Module) -> int:
    """The model's parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def stored_bytes(source: ModelSource) -> int:
    """The bytes of the weights on disk: the .gguf file, or the safetensors that would be loaded."""
    if source.is_gguf:
        return source.path.stat().st_size
    single = source.path / "model.safetensors"
    if single.is_file():  # an index that was left beside it is not read by anyone
        return single.stat().st_size
    index = source.path / "model.safetensors.index.json"
    names = set(json.loads(index.read_text())["weight_map"].values())
    return sum((source.path / name).stat().st_size for name in names)


@dataclass
class ForwardClock:
    """The tokens a second of every forward call that was timed."""

    rates: list[float] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        """The best of the calls: other work on the machine only ever slows one."""
        return max(self.rates)


@contextmanager
def timed_forward(model: nn.Module, warm_up: torch.Tensor) -> Iterator[ForwardClock]:
    """Time each `model(input_ids=…)` while the block runs, after one call that isn't timed."""
    clock = ForwardClock()
    device = next(model.parameters()).device
    with torch.inference_mode():
        model(input_ids=warm_up.to(device), use_cache=False)
    started = 0.0

    def start(_: nn.Module, __: Any, ___: Any) -> None:
        nonlocal started
        _wait_for(device)
        started = time.perf_counter()

    def stop(_: nn.Module, __: Any, arguments: dict[str, Any], ___: Any) -> None:
        _wait_for(device)
        clock.rates.append(arguments["input_ids"].numel() / (time.perf_counter() - started))

    hooks = (
        model.register_forward_pre_hook(start, with_kwargs=True),
        model.register_forward_hook(stop, with_kwargs=True),
    )
    try:
        yield clock
    finally:
        for hook in hooks:
            hook.remove()


def _wait_for(device: torch.device) -> None:
    """Let queued kernels end, so that a clock around them tells their time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class MemoryMeter:
    """Peak memory from its making on: of the GPU if the model lies there, else of the process."""

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
        """The highest point since the beginning, above what was in use then."""
        if self._on_cuda:
            peak: int | None = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _resident("VmHWM")
        if peak is None or self._before is None:
            return None
        return max(0, peak - self._before)


def release_freed_memory() -> None:
    """Give back what the last model held: cycles, the allocator's pages, the device's cache."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _reset_resident_peak() -> bool:
    """Set the high-water mark of resident memory back; False where the kernel can't."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    """`VmRSS` or `VmHWM` in bytes."""
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
