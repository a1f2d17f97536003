"""analysis.json: what was measured, on what text, how, and at what price."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from globalprune.artifacts.analyses.model_traits import ModelTraits
from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.analyses.reliability import Reliability
from globalprune.artifacts.analyses.stored_weights import StoredWeights
from globalprune.artifacts.analyses.trial import Trial, doubt_text
from globalprune.artifacts.command import Command
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.provenance import digest_json
from globalprune.artifacts.record import Record
from globalprune.artifacts.record_file import read_record, write_record
from globalprune.errors import RecordInvalid

ANALYSIS_FORMAT: Literal["globalprune.analysis/1"] = "globalprune.analysis/1"
ANALYSIS_FILE = "analysis.json"


class TextRecord(Record):
    """Text as it was read and cut into windows; the document digests show reuse in evaluation."""

    source: str
    documents: int = Field(ge=0)
    document_digests: tuple[str, ...]
    samples: int = Field(ge=0)
    seq_len: int | None  # None: the windows are of several lengths
    stride: int | None
    tokens: int = Field(ge=0)
    predicted_tokens: int = Field(ge=0)
    seed: int | None
    bos: bool
    digest: str  # of the windows' ids


class ModelRecord(Record):
    """The model that was measured."""

    source: str
    revision: str | None
    model_type: str
    structure_fingerprint: str
    weights_fingerprint: str
    parameters: int = Field(gt=0)
    prunable_parameters: int = Field(ge=0)
    traits: ModelTraits | None = None  # None: measured before they were recorded
    storage: StoredWeights | None = None  # likewise


class GivenPlan(Record):
    """The plan that was taken as decided: its groups are worth nothing, the others stand alone."""

    plan: str  # digest of its decisions
    ratio: float  # of all parameters, that it removes
    compensated: bool  # whether what stands was measured as compensation leaves it
    gate_steps: int = 0  # that gate and up of MLPs might take in that


class AnalysisRecord(Record):
    """One analysis, whole but for its table, which it cites by digest."""

    format: Literal["globalprune.analysis/1"] = ANALYSIS_FORMAT
    model: ModelRecord
    structure: ModelStructure
    layers: tuple[int, int]  # half-open: the layers that were measured
    given: GivenPlan | None = None
    calibration: TextRecord
    methods: tuple[str, ...]
    default_importance: str
    labels: Literal["text", "sampled"] = "text"  # what gradients were taken of
    label_seed: int | None = None  # of sampled labels
    compensated: tuple[str, ...] = ()  # methods that count on compensation when a plan is applied
    incomparable: tuple[str, ...] = ()  # methods that rank no several layers unless normalised
    normalisers: dict[str, NormaliserName] = Field(default={})  # of methods that have one
    reliability: dict[str, Reliability] = Field(default={})  # by method; none of a single window
    trial: Trial | None = None  # None: nothing was tried
    dtype: str
    batch_size: int = Field(ge=1)
    table: str
    versions: dict[str, str]
    seconds: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)
    command: Command
    warnings: tuple[str, ...] = ()

    @property
    def measured(self) -> range:
        """The layers that were measured."""
        return range(*self.layers)

    @property
    def removable(self) -> int:
        """Parameters in the groups of the measured layers: the most that a plan can remove."""
        halves = self.structure.halves()
        return sum(half.prunable for layer, _, half in halves if layer in self.measured)

    @property
    def doubt(self) -> str | None:
        """Why the analysis is doubted, and what to do; None where its trial found nothing wrong."""
        return doubt_text(self.trial)

    def normaliser_of(self, importance: str) -> NormaliserName:
        """What the scores of that importance go through, unless a person says otherwise."""
        return self.normalisers.get(importance, "none")

    @property
    def identity(self) -> str:
        """`sha256:…` of what was measured and how; the table's metadata cites it."""
        passing: Any = {
            "table": True, "reliability": True, "trial": True, "seconds": True,
            "peak_memory_bytes": True, "command": True, "warnings": True,
            "model": {"traits", "storage"},
        }  # fmt: skip
        return digest_json(self.model_dump(mode="json", exclude=passing))


def write_analysis_record(path: Path, record: AnalysisRecord) -> None:
    """Write the record whole or not at all."""
    write_record(path, record)


def read_analysis_record(path: Path) -> AnalysisRecord:
    """Read a record; raise `RecordInvalid` with all that is wrong with it."""
    record = read_record(path, AnalysisRecord, what="an analysis record", command="gp analyze")
    _refuse_contradictions(path, record)
    return record


def _refuse_contradictions(path: Path, record: AnalysisRecord) -> None:
    """Raise unless the record's parts agree with one another."""
    first, end = record.layers
    count = len(record.structure.layers)
    if not 0 <= first < end <= count:
        raise RecordInvalid(
            f"{path}: measured layers {first}:{end} of a model of {count}; run gp analyze again."
        )
    if record.model.structure_fingerprint != record.structure.fingerprint:
        raise RecordInvalid(
            f"{path}: model.structure_fingerprint is {record.model.structure_fingerprint}, but its "
            f"structure has {record.structure.fingerprint}: the file was edited; "
            "run gp analyze again."
        )
    if record.default_importance not in record.methods:
        raise RecordInvalid(
            f"{path}: default_importance {record.default_importance!r} is none of the methods "
            f"({', '.join(record.methods)}); run gp analyze again."
        )
    storage = record.model.storage
    if storage is not None and (fault := storage.fault(record.structure)) is not None:
        raise RecordInvalid(f"{path}: model.storage {fault}; run gp analyze again.")
