"""The records that lie in a model's folder, as far as they are there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, AnalysisRecord
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_files import EVALUATION_FILE
from globalprune.artifacts.records import OWN_FOLDER, Record
from globalprune.artifacts.results.compensation import COMPENSATION_FILE, CompensationRecord
from globalprune.artifacts.results.finetuning import RECOVERY_FILE, RecoveryRecord, RecoveryRun
from globalprune.artifacts.results.metrics import METRICS_FILE, ApplyMetrics

Kind = TypeVar("Kind", bound=Record)


@dataclass(frozen=True)
class ModelRecords:
    """What each phase wrote about one model; None is a phase that has not run."""

    analysis: AnalysisRecord | None = None
    cut: ApplyMetrics | None = None
    compensation: CompensationRecord | None = None
    recovery: RecoveryRecord | None = None
    evaluation: Comparison | None = None

    @property
    def runs(self) -> tuple[RecoveryRun, ...]:
        """Every finetuning."""
        return self.recovery.runs if self.recovery else ()


def read_records(folder: Path) -> ModelRecords:
    """Read what lies in a model's folder; a file that is no such record counts as none."""
    own = folder / OWN_FOLDER
    return ModelRecords(
        analysis=_read(own / ANALYSIS_FILE, AnalysisRecord),
        cut=_read(own / METRICS_FILE, ApplyMetrics),
        compensation=_read(own / COMPENSATION_FILE, CompensationRecord),
        recovery=_read(own / RECOVERY_FILE, RecoveryRecord),
        evaluation=_read(own / EVALUATION_FILE, Comparison),
    )


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
