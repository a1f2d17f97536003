"""What a sweep is asked for: the plans, the text to judge by, and how plans are cut."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.pipeline.cutting import Cutting
from globalprune.printable import printable
from globalprune.progress import Progress, silent, tell_nobody

if TYPE_CHECKING:
    from globalprune.planning.write import WrittenPlan

PARTS: Final = "parts"  # judged models, as gp eval keeps them
POINTS: Final = "points"  # judged cuts, whose models are gone
MODELS: Final = "models"
PLANS: Final = "plans"
MARK: Final = "sweep.asked.json"  # shows that a folder is a sweep's, before there is a result


@dataclass(frozen=True)
class Judging:
    """By what text every point is judged; None is the default of gp eval."""

    data: str | None = None
    samples: int | None = None
    seq_len: int | None = None
    batch_size: int = 1


@dataclass(frozen=True)
class SweepRequest:
    """What is swept, and how; `compensation` None judges every plan as a mask."""

    model: str
    out: Path
    plans: tuple[Path, ...]
    judging: Judging = Judging()
    unreached: "tuple[WrittenPlan, ...]" = ()  # ratios that no plan reaches, told with the points
    compensation: CompensationRequest | None = None
    compensate_all: bool = False  # plans that don't count on it too
    keep_models: bool = False
    device: str | None = None
    dtype: str | None = None
    save_dtype: str | None = None  # of models that are cut
    command: Sequence[str] = ()
    warn: Callable[[str], None] = tell_nobody
    progress: Progress = silent

    def cutting(self, out: Path) -> Cutting:
        """How a plan is applied into `out`, or gone on with."""
        return Cutting(
            self.model,
            out,
            device=self.device,
            dtype=self.dtype,
            compensation=self.compensation,
            save_dtype=self.save_dtype,
            overwrite=True,
            resume=True,
            command=self.command,
            warn=self.warn,
            progress=self.progress,
        )


def mark(out: Path, model: str, command: Sequence[str]) -> None:
    """Let the folder be known as a sweep's, should this one be stopped."""
    asked = {"model": printable(model), "command": list(map(printable, command))}
    write_atomically(out / MARK, json.dumps(asked, indent=2) + "\n")
