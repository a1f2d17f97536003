"""Processes, and what they took: wall time and the highest point of their memory."""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN_LINES = 8
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Cost:
    """What something took."""

    seconds: float
    peak_bytes: int


class CommandFailedError(Exception):
    """A process ended with an error; the message is the end of what it said."""


def run_measured(
    command: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Cost:
    """Run a command, what it says going into `log`; raise with the log's end if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)  # noqa: S603 - our own commands
        # not process.wait(): of several children only this call knows which one took what
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]
        raise CommandFailedError("\n".join([f"exit code {process.returncode}", *lines]))
    return Cost(time.perf_counter() - started, _as_bytes(usage.ru_maxrss))


def together(costs: Sequence[Cost]) -> Cost:
    """One after the other: times add up, the highest peak counts."""
    return Cost(sum(cost.seconds for cost in costs), max(cost.peak_bytes for cost in costs))


def own_peak() -> int:
    """The highest point of this process's memory so far, in bytes.

    Linux's own figure of the process, not getrusage's, which begins at the parent's size.
    """
    if _STATUS.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    return _as_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _as_bytes(maximum: int) -> int:
    """Linux counts KiB, macOS bytes."""
    return maximum if sys.platform == "darwin" else maximum * 1024
