"""sweep.json: what a model comes to by many plans, all judged by the same windows of text."""

from typing import Literal

from pydantic import Field, model_validator

from globalprune.artifacts.analyses.analysis_record import TextRecord
from globalprune.artifacts.command import Command
from globalprune.artifacts.evaluations.evaluation_record import (
    EvaluationSettings,
    Hardware,
    ModelResult,
    refuse_other_windows,
)
from globalprune.artifacts.record import Record
from globalprune.artifacts.results.compensation_request import CompensationRequest

SWEEP_FORMAT: Literal["globalprune.sweep/1"] = "globalprune.sweep/1"


class SweepPoint(Record):
    """One plan, and what it leaves."""

    plan: str  # its path, seen from the folder of the sweep
    decisions: str  # the digest of what it removes
    line: str  # the points of one line of the curve differ in how much goes, and in nothing else
    removed: float = Field(ge=0, le=1)  # parameters of the groups that go, as a fraction of all
    compensated: bool  # cut and repaired; otherwise judged as a mask
    result: ModelResult


class UnreachedRatio(Record):
    """A ratio that no plan reaches, so that there is nothing to judge."""

    line: str  # that its point would belong to
    asked: float  # parameters to go, as a fraction of all
    reachable: float  # the most that can go
    reason: str


class Sweep(Record):
    """The model as it is, and a point for every plan."""

    format: Literal["globalprune.sweep/1"] = SWEEP_FORMAT
    dense: ModelResult
    points: tuple[SweepPoint, ...] = Field(min_length=1)
    unreached: tuple[UnreachedRatio, ...] = ()
    compensation: CompensationRequest | None  # what compensated points were repaired by
    repaired_on: TextRecord | None = None  # the text of the repairs, as it was read
    text: TextRecord
    settings: EvaluationSettings
    device: str
    hardware: Hardware
    versions: dict[str, str]
    command: Command

    @model_validator(mode="after")
    def _comparable(self) -> "Sweep":
        """Refuse points that are said to be of the dense model's windows, and can't be."""
        results = [self.dense, *(point.result for point in self.points)]
        refuse_other_windows([result.perplexity for result in results])
        return self

    @property
    def lines(self) -> dict[str, tuple[SweepPoint, ...]]:
        """The points of every line, those that remove least first."""
        found: dict[str, list[SweepPoint]] = {}
        for point in sorted(self.points, key=lambda point: point.removed):
            found.setdefault(point.line, []).append(point)
        return {name: tuple(found[name]) for name in dict.fromkeys(p.line for p in self.points)}
