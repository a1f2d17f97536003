"""The records that gp apply leaves in a result: metrics.json, and compensation.json beside it.

metrics.json says what was cut, the sizes before and after, and the tools. compensation.json holds
the compensated weights and their errors: sums of squares over held-out tokens, relative to the
target output of those tokens.
"""

from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field

from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.records import Command, Record, TextRecord, read_record
from globalprune.artifacts.structure import GroupType
from globalprune.errors import UsageError

METRICS_FILE: Final = "metrics.json"
METRICS_FORMAT: Literal["globalprune.metrics/1"] = "globalprune.metrics/1"
COMPENSATION_FORMAT: Literal["globalprune.compensation/1"] = "globalprune.compensation/1"
COMPENSATION_FILE: Final = "compensation.json"
GATE_STEPS: Final = 1  # that a request takes unless it says otherwise
CompensatedPart = Literal["output", "gate", "up", "gate_up"]  # of a sublayer; some models fuse two


class LayerWidths(Record):
    """How wide one layer of the result is, and which layer of the original it was."""

    layer_idx: int
    origin_layer_idx: int
    attention_groups: int
    mlp_channels: int


class CutModel(Record):
    """The model that was cut."""

    source: str
    revision: str | None
    structure: str
    weights: str
    quantisation: str | None = None  # of a GGUF file that is one: its name, such as Q4_K_M


class FirstModel(Record):
    """The model that was there before gp changed anything."""

    source: str
    revision: str | None
    weights: str
    parameters: int = Field(gt=0)
    quantisation: str | None = None


class EarlierStep(Record):
    """What gp did to the model before it was cut: another cut, or a finetuning.

    `weights` is the fingerprint of what came out, None where an adapter was kept by itself.
    """

    kind: Literal["cut", "finetuning"]
    model: str  # its source, as it was named then
    revision: str | None
    weights_before: str
    weights: str | None
    parameters_before: int | None = Field(default=None, gt=0)  # of a cut
    parameters_after: int | None = Field(default=None, gt=0)
    plan: str | None = None  # digest of its decisions
    compensated: bool = False
    measured_by: Command = ()  # the analysis, where its record was at hand
    command: Command

    verbatim: ClassVar[frozenset[str]] = frozenset({"measured_by", "command"})


class ApplyMetrics(Record):
    """All that is known of one application of a plan."""

    format: Literal["globalprune.metrics/1"] = METRICS_FORMAT
    model: CutModel
    plan: str  # digest of its decisions
    first: FirstModel | None = None  # None: `model` is the first
    earlier: tuple[EarlierStep, ...] = ()  # in order, from the first model to `model`
    parameters_before: int = Field(gt=0)
    parameters_after: int = Field(gt=0)
    ratio: float  # the removed groups, of all parameters; norms of dropped layers come on top
    removed_groups: dict[GroupType, int]
    repaired_modules: int | None = None  # sublayers that compensation changed, if it ran
    final_norm_refitted: bool | None = None  # whether it changed that one too, if it ran
    dropped_layers: tuple[int, ...]
    layers: tuple[LayerWidths, ...]
    uneven: bool
    reason: str | None  # why the native format could not be used
    weight_bytes: int  # of the tensors alone
    bytes_before: int | None = None  # of all files of weights, as MODEL stores them
    bytes_after: int | None = None
    save_dtype: str | None = None  # that floats were converted to; None: each kept its own
    weights: str  # fingerprint of the result
    seconds: float
    command: Command
    versions: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def original_model(self) -> FirstModel:
        """Return the model that was there before gp changed anything."""
        model = self.model
        return self.first or FirstModel(
            source=model.source,
            revision=model.revision,
            weights=model.weights,
            parameters=self.parameters_before,
            quantisation=model.quantisation,
        )


class ApplyResult(ApplyMetrics):
    """What `apply_plan` hands back: the metrics, and where the model is."""

    out: str


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
        """Return whether its weights changed."""
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
        """Return the number of sublayers whose weights changed."""
        return sum(module.accepted for module in self.modules)

    @property
    def final_norm_refitted(self) -> bool:
        """Return whether the final norm changed too."""
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


def widths_of(effect: PlanEffect) -> tuple[LayerWidths, ...]:
    """Return the widths of every layer of the result."""
    return tuple(
        LayerWidths(
            layer_idx=new,
            origin_layer_idx=layer.layer_idx,
            attention_groups=len(layer.attention),
            mlp_channels=len(layer.mlp),
        )
        for new, layer in enumerate(effect.kept_layers)
    )


def read_metrics(path: Path) -> ApplyMetrics:
    """Read a record; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(path, ApplyMetrics, what="a record of a cut", command="gp apply")


def check_gate_steps(steps: int) -> None:
    """Raise `UsageError` for a negative number of steps."""
    if steps < 0:
        raise UsageError(f"--gate-steps {steps}: can't be negative; 0 leaves gate and up alone.")


def read_compensation(path: Path) -> CompensationRecord:
    """Read a record; raise `RecordInvalid` with every fault in it."""
    return read_record(
        path, CompensationRecord, what="a compensation record", command="gp apply --compensate"
    )
