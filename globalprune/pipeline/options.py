"""The options of runs over several phases, and the presets of gp prune."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.results.compensation import GATE_STEPS, CompensationRequest
from globalprune.artifacts.results.finetuning import FinetuneSettings
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import UsageError
from globalprune.progress import Progress, ignore_message, silent

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
    warn: Callable[[str], None] = ignore_message
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


@dataclass(frozen=True)
class Recovery:
    """The settings and the text; with distillation in them, the model before the cut teaches."""

    settings: FinetuneSettings
    data: Sequence[str] = ()

    @property
    def described(self) -> dict[str, Any]:
        """All that decides what it does, for telling one run from another."""
        return {"data": list(self.data), **self.settings.model_dump(mode="json")}


@dataclass(frozen=True)
class Preset:
    """How the groups that go are found, and what becomes of the rest."""

    importance: str
    rounds: int  # plans on the way to the ratio, each measured on what the one before leaves
    compensate: bool
    gate_steps: int = 0  # of compensation, for gate and up of MLPs


PRESETS: Final = {
    "founding": Preset(importance="taylor", rounds=1, compensate=False),
    "fast": Preset(importance="obs", rounds=1, compensate=True),
    "best": Preset("obs_measured", rounds=1, compensate=True, gate_steps=GATE_STEPS),
}
DEFAULT_PRESET: Final = "fast"


def preset_named(
    name: str,
    *,
    importance: str | None = None,
    rounds: int | None = None,
    compensate: bool | None = None,
    gate_steps: int | None = None,
) -> Preset:
    """The preset, with what a person says otherwise; raise `UsageError` for unknown names."""
    if name not in PRESETS:
        raise UsageError(f"--preset {name}: is not known; there are {', '.join(PRESETS)}.")
    if rounds is not None and rounds < 1:
        raise UsageError(f"--rounds {rounds}: must be at least 1.")
    preset = PRESETS[name]
    compensates = preset.compensate if compensate is None else compensate
    if gate_steps is not None and not compensates:
        raise UsageError("--gate-steps: is for --compensate; say that too, or leave it out.")
    return Preset(
        importance=importance or preset.importance,
        rounds=rounds or preset.rounds,
        compensate=compensates,
        gate_steps=preset.gate_steps if gate_steps is None else gate_steps,
    )
