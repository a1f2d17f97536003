"""Recipes of `gp prune` by name: what is measured, in how many rounds, and whether it is repaired.

Decisions 13 (curves are held against trials) and 16 (gate and up are solved too) in docs/decisions
say why `best` is what it is.
"""

from dataclasses import dataclass
from typing import Final

from globalprune.artifacts.results.compensation import GATE_STEPS
from globalprune.errors import UsageError


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
