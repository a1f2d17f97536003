"""An analysis as it lies in a folder, with its curves if they were written."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    AnalysisRecord,
    read_analysis,
    read_analysis_record,
)
from globalprune.artifacts.analyses.group_table import TABLE_FILE
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE, Curves, read_curves


@dataclass(frozen=True)
class Measured:
    """What was measured; a result that gp apply wrote holds the record alone."""

    record: AnalysisRecord
    analysis: Analysis | None
    curves: Curves | None


def read_measured(folder: Path, *, record_alone: bool = False) -> Measured:
    """Read what gp analyze left; the table may lack only where the record may be alone."""
    if record_alone and not (folder / TABLE_FILE).is_file():
        return Measured(read_analysis_record(folder / ANALYSIS_FILE), None, None)
    analysis = read_analysis(folder)
    path = folder / CURVES_FILE
    curves = read_curves(path, identity=analysis.record.identity) if path.is_file() else None
    return Measured(analysis.record, analysis, curves)
