"""The machine that an evaluation ran on, as far as it decides about speed."""

import platform
import re
from pathlib import Path

import torch

from globalprune.artifacts.evaluations.evaluation import Hardware

_CPU_INFO = Path("/proc/cpuinfo")


def this_machine(device: str) -> Hardware:
    """What it calls its processor, and the GPU if the models run there."""
    on_gpu = device.startswith("cuda")
    return Hardware(
        cpu=_processor(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(device) if on_gpu else None,
    )


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", _CPU_INFO.read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
