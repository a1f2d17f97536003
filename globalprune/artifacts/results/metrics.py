"""metrics.json of a result: what was cut, the sizes before and after, and the tools."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from globalprune.artifacts.command import Command
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.records import Record, read_record
from globalprune.artifacts.structure import GroupType

METRICS_FILE = "metrics.json"
FORMAT: Literal["globalprune.metrics/1"] = "globalprune.metrics/1"


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

    format: Literal["globalprune.metrics/1"] = FORMAT
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
        """The model that was there before gp changed anything."""
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


def widths_of(effect: PlanEffect) -> tuple[LayerWidths, ...]:
    """The widths of every layer of the result."""
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
