"""What phases in a row need to know of the cut that stands at their middle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globalprune.artifacts.results.compensation_request import CompensationRequest
from globalprune.progress import Progress, silent, tell_nobody

if TYPE_CHECKING:
    from globalprune.apply.compensator import Compensation


@dataclass(frozen=True)
class Cutting:
    """Which model is cut into which place, where it runs, and how that may be done."""

    model: str
    out: Path
    analysis: Path | None = None
    device: str | None = None
    dtype: str | None = None
    compensation: CompensationRequest | None = None
    overwrite: bool = False
    resume: bool = False
    command: Sequence[str] = ()
    warn: Callable[[str], None] = tell_nobody
    progress: Progress = silent

    @property
    def described(self) -> dict[str, Any]:
        """All of it that decides what comes out, for telling one run from another."""
        from globalprune.models.checkpoints.opening import open_checkpoint
        from globalprune.models.checkpoints.weights_fingerprint import weights_fingerprint
        from globalprune.models.sources.source import resolve_model

        weights = weights_fingerprint(open_checkpoint(resolve_model(self.model)))
        compensation = self.compensation.model_dump(mode="json") if self.compensation else None
        return {
            "model": weights,
            "device": self.device,
            "dtype": self.dtype,
            "compensation": compensation,
        }

    def compensated_in(self, work: Path) -> "Compensation | None":
        """What the cut is told of compensation, if that is asked; `work` keeps what is solved."""
        if self.compensation is None:
            return None
        from globalprune.apply.compensator import Compensation

        return Compensation(self.compensation, work, self.device, self.dtype)
