"""What phases in a row need to know of the cut that stands at their middle."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.progress import Progress, silent


@dataclass(frozen=True)
class Cutting:
    """Which model is cut into which place, and how that may be done."""

    model: str
    out: Path
    analysis: Path | None = None
    overwrite: bool = False
    resume: bool = False
    command: str = ""
    progress: Progress = silent
