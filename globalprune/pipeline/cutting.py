"""What phases in a row need to know of the cut that stands at their middle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.artifacts.run_folder import RunFolder
from globalprune.progress import Progress, silent, tell_nobody

if TYPE_CHECKING:
    from globalprune.surgery.compensate import Compensation


@dataclass(frozen=True)
class Cutting:
    """Which model is cut into which place, where it runs, and how that may be done."""

    model: str
    out: Path
    analysis: Path | None = None
    device: str | None = None
    dtype: str | None = None
    compensation: CompensationRequest | None = None
    save_dtype: str | None = None  # that floats are written as; None: each as it is stored
    overwrite: bool = False
    resume: bool = False
    command: Sequence[str] = ()
    warn: Callable[[str], None] = tell_nobody
    progress: Progress = silent

    def identity(self) -> dict[str, Any]:
        """All of it that decides what comes out, for telling one run from another."""
        import torch

        from globalprune.artifacts.records import tool_versions
        from globalprune.models.checkpoints.identity import identify_model
        from globalprune.models.placement import choose_placement
        from globalprune.models.sources.source import resolve_model

        placement = choose_placement(self.device, self.dtype)
        compensation = self.compensation.model_dump(mode="json") if self.compensation else None
        return {
            "versions": tool_versions("peft", "accelerate"),
            "model": dict(identify_model(resolve_model(self.model), self.progress).files),
            "device": torch.device(placement.device).type,
            "dtype": self.dtype,
            "compensation": compensation,
            "save_dtype": self.save_dtype,
        }

    def compensated_in(self, work: RunFolder) -> "Compensation | None":
        """What the cut is told of compensation, if that is asked; `work` keeps what is solved."""
        if self.compensation is None:
            return None
        from globalprune.surgery.compensate import Compensation

        return Compensation(self.compensation, work, self.device, self.dtype)
