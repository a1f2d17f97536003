"""compensation.json of a result: the request, the compensated weights and their errors.

An error is a sum of squares over held-out tokens, relative to the target output of those tokens.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.records import Record, read_record
from globalprune.artifacts.structure import GroupType
from globalprune.errors import UsageError

COMPENSATION_FORMAT: Literal["globalprune.compensation/1"] = "globalprune.compensation/1"
COMPENSATION_FILE: Final = "compensation.json"

SolvedPart = Literal["output", "gate", "up", "gate_up"]  # of a sublayer; some models fuse the two


class ModuleRepair(Record):
    """One sublayer: its output projection, and gate and up in front of it.

    `strength` is that of the ridge, None where the output stayed; `gates` are gate and up where
    they changed, in so many `gate_steps`.
    """

    layer_idx: int = Field(ge=0)  # as the original counts
    group_type: GroupType
    tensor: str  # as the original calls it
    kept_inputs: int = Field(ge=1)
    strength: float | None
    gates: tuple[str, ...] = ()
    gate_steps: int = Field(default=0, ge=0)
    error_before: float
    error_after: float

    @property
    def accepted(self) -> bool:
        """Whether its weights changed."""
        return self.strength is not None or bool(self.gates)


class FinalNormRefit(Record):
    """The norm behind the last layer; KL(model || cut model), nats a token, on text not fitted to.

    `refitted` is False where that would not fall, and the weight stayed.
    """

    tensor: str
    refitted: bool
    divergence_before: float
    divergence_after: float


class CompensationRecord(Record):
    """One compensation, solved from the original weights."""

    format: Literal["globalprune.compensation/1"] = COMPENSATION_FORMAT
    text: TextRecord
    held_out_windows: int = Field(ge=1)
    beginnings: int = Field(default=0, ge=0)  # short windows cut out of those fitted to
    strengths: tuple[float, ...]  # that were tried
    gate_steps: int = Field(default=0, ge=0)  # that gate and up of an MLP might take
    dtype: str  # in which the streams ran
    modules: tuple[ModuleRepair, ...]
    final_norm: FinalNormRefit | None = None  # None: nothing was cut, or there is none to refit
    seconds: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)

    @property
    def accepted(self) -> int:
        """In how many sublayers weights changed."""
        return sum(module.accepted for module in self.modules)

    @property
    def final_norm_refitted(self) -> bool:
        """Whether the final norm changed too."""
        return self.final_norm is not None and self.final_norm.refitted


def read_compensation(path: Path) -> CompensationRecord:
    """Read a record; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(
        path, CompensationRecord, what="a compensation record", command="gp apply --compensate"
    )


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
