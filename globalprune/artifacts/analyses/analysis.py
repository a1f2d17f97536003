"""An analysis on disk: analysis.json, the table that it cites, and how groups are scored.

The record and the table must be one pair, by digest. `scoring_of` picks the importance column and
the normaliser that a plan ranks groups by.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.group_table_file import TABLE_FILE, read_group_table
from globalprune.artifacts.analyses.normalisers import NormaliserName, normaliser_named, scored_by
from globalprune.artifacts.analyses.reliability import Reliability, Trial, doubt_text
from globalprune.artifacts.records import (
    Command,
    Record,
    TextRecord,
    digest_json,
    read_record,
    write_record,
)
from globalprune.artifacts.stored_weights import StoredWeights
from globalprune.artifacts.structure import ModelStructure, ModelTraits
from globalprune.errors import RecordInvalid, TableInvalid, UsageError

ANALYSIS_FORMAT: Literal["globalprune.analysis/1"] = "globalprune.analysis/1"
ANALYSIS_FILE = "analysis.json"


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
    # the versions that a family was proved with when it was met; empty for families of the table
    proved_with: dict[str, str] = Field(default={}, exclude_if=lambda versions: not versions)


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
        """Return the layers that were measured."""
        return range(*self.layers)

    @property
    def removable(self) -> int:
        """Parameters in the groups of the measured layers: the most that a plan can remove."""
        sublayers = self.structure.sublayers()
        return sum(sublayer.prunable for layer, _, sublayer in sublayers if layer in self.measured)

    @property
    def doubt(self) -> str | None:
        """Why the analysis is doubted, and what to do; None where its trial found nothing wrong."""
        return doubt_text(self.trial)

    def normaliser_of(self, importance: str) -> NormaliserName:
        """Return what the scores of that importance go through, unless a person says otherwise."""
        return self.normalisers.get(importance, "none")

    @property
    def identity(self) -> str:
        """`sha256:…` of what was measured and how; the table's metadata cites it."""
        passing: Any = {
            "table": True, "reliability": True, "trial": True, "seconds": True,
            "peak_memory_bytes": True, "command": True, "warnings": True,
            "model": {"traits", "storage", "proved_with"},
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


@dataclass(frozen=True)
class Analysis:
    """What one run of gp analyze left behind."""

    folder: Path
    record: AnalysisRecord
    table: GroupTable


def read_analysis(folder: Path) -> Analysis:
    """Read both files; raise unless the table is the one that the record cites."""
    if not folder.is_dir():
        found = "is a file" if folder.is_file() else "there is no such folder"
        raise UsageError(f"{folder}: {found}; name a folder that gp analyze wrote.")
    record = read_analysis_record(folder / ANALYSIS_FILE)
    path = folder / TABLE_FILE
    table = read_group_table(path, record.structure)
    measured = np.unique(table.layer_idx).tolist()
    wanted = [
        layer
        for layer in record.measured
        if record.structure.layers[layer].attention.candidates
        or record.structure.layers[layer].mlp.candidates
    ]
    if measured != wanted:
        first, end = record.layers
        raise TableInvalid(
            f"{path}: holds other layers than the {first}:{end} that analysis.json names; "
            "put the two files of one analysis together, or run gp analyze again."
        )
    if table.digest != record.table:
        raise TableInvalid(
            f"{path}: is not the table of analysis.json: its digest is {table.digest}, the record "
            f"cites {record.table}. To score groups your own way, leave the first six columns as "
            "they are and add a column importance_NAME; else run gp analyze again."
        )
    return Analysis(folder, record, table)


@dataclass(frozen=True)
class Scoring:
    """An importance and what its scores go through."""

    importance: str
    normaliser: NormaliserName

    def __str__(self) -> str:
        return scored_by(self.importance, self.normaliser)


def scoring_of(
    record: AnalysisRecord, importance: str | None = None, normaliser: str | None = None
) -> Scoring:
    """What a person asks for; the analysis says the rest. A column of one's own is ranked raw."""
    name = importance or record.default_importance
    if normaliser is None:
        return Scoring(name, record.normaliser_of(name))
    return Scoring(name, normaliser_named(normaliser))


def doubt_of(record: AnalysisRecord, scoring: Scoring) -> str | None:
    """Why the analysis is doubted, as far as that is about these scores: others weren't tried."""
    return record.doubt if scoring == scoring_of(record) else None


def scored_table(analysis: Analysis, scoring: Scoring) -> GroupTable:
    """Return the analysis's table, scored again unless it is scored so already."""
    if scoring == scoring_of(analysis.record):
        return analysis.table
    return analysis.table.rescored(scoring.importance, scoring.normaliser)
