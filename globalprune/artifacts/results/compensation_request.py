"""What is asked of compensation: the text, how it is cut into windows, and how much work."""

from typing import Final

from pydantic import Field

from globalprune.artifacts.record import Record
from globalprune.errors import UsageError

GATE_STEPS: Final = 1


class CompensationRequest(Record):
    """Text to repair a cut model with; None is left to the text's own defaults.

    `gate_steps` are Gauss-Newton steps for gate and up of every MLP; without any, output
    projections alone are solved.
    """

    data: str | None = None
    samples: int | None = None
    seq_len: int | None = None
    seed: int = 0
    gate_steps: int = GATE_STEPS
    batch_size: int = Field(default=4, exclude=True)  # changes nothing but rounding


def check_gate_steps(steps: int) -> None:
    """Raise `UsageError` for a number of steps that can't be taken."""
    if steps < 0:
        raise UsageError(f"--gate-steps {steps}: can't be negative; 0 leaves gate and up alone.")
