"""compensation.json of a result: the request, the compensated weights and their errors.

An error is a sum of squares over held-out tokens, relative to the target output of those tokens.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from globalprune.artifacts.records import Record, TextRecord, read_record
from globalprune.artifacts.structure import GroupType
from globalprune.errors import UsageError

COMPENSATION_FORMAT: Literal["globalprune.compensation/1"] = "globalprune.compensation/1"
COMPENSATION_FILE: Final = "compensation.json"
GATE_STEPS: Final = 1  # that a request takes unless it says otherwise

CompensatedPart = Literal["output", "gate", "up", "gate_up"]  # of a sublayer; some models fuse two


class CompensatedModule(Record):
    """One sublayer: its output projection, and gate and up of an MLP.

    `strength` is that of the ridge, None where the output projection is unchanged; `gates` are the
    weights of gate and up where they changed, in `gate_steps` steps.
    """

    layer_idx: int = Field(ge=0)  # in the model that was cut
    group_type: GroupType
    tensor: str  # its name there
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


class CompensatedNorm(Record):
    """The norm behind the last layer; KL(model || cut model), nats per token, on held-out text.

    `refitted` is False where scaling does not lower the divergence, and the weight is unchanged.
    """

    tensor: str
    refitted: bool
    divergence_before: float
    divergence_after: float


class CompensationRecord(Record):
    """One compensation, computed from the original weights."""

    format: Literal["globalprune.compensation/1"] = COMPENSATION_FORMAT
    text: TextRecord
    held_out_windows: int = Field(ge=1)
    beginnings: int = Field(default=0, ge=0)  # window starts
    strengths: tuple[float, ...]  # of the ridge, all that were tried
    gate_steps: int = Field(default=0, ge=0)  # the most that gate and up of an MLP might take
    dtype: str  # that the streams ran in
    modules: tuple[CompensatedModule, ...]
    final_norm: CompensatedNorm | None = None  # None: nothing is cut, or the head reads no norm
    seconds: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)

    @property
    def accepted(self) -> int:
        """The number of sublayers whose weights changed."""
        return sum(module.accepted for module in self.modules)

    @property
    def final_norm_refitted(self) -> bool:
        """Whether the final norm changed too."""
        return self.final_norm is not None and self.final_norm.refitted


class CompensationRequest(Record):
    """The text to compensate with, and how; None takes the text's own default.

    `gate_steps` are Gauss-Newton steps for gate and up of every MLP; with 0, output projections
    alone are compensated.
    """

    data: str | None = None
    samples: int | None = None
    seq_len: int | None = None
    seed: int = 0
    gate_steps: int = GATE_STEPS
    batch_size: int = Field(default=4, exclude=True)  # changes nothing but rounding


def check_gate_steps(steps: int) -> None:
    """Raise `UsageError` for a negative number of steps."""
    if steps < 0:
        raise UsageError(f"--gate-steps {steps}: can't be negative; 0 leaves gate and up alone.")


def read_compensation(path: Path) -> CompensationRecord:
    """Read a record; raise `RecordInvalid` with every fault in it."""
    return read_record(
        path, CompensationRecord, what="a compensation record", command="gp apply --compensate"
    )
