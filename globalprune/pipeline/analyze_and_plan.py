"""`gp analyze`: measure a model and write the first plan beside the analysis.

A bad ratio or an edited plan.yaml is refused before the model is run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.analyses.analysis_folder import read_analysis
from globalprune.artifacts.plans.plan_file import standing_plan
from globalprune.planning.places import plan_places
from globalprune.planning.writing import WrittenPlan, write_plans

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis_record import AnalysisRecord


def analyze_and_plan(
    analyze_into: "Callable[[Path], AnalysisRecord]", out: Path, ratio: float, *, overwrite: bool
) -> "tuple[AnalysisRecord, WrittenPlan]":
    """Write the analysis, then its plan; if that fails, the analysis stays."""
    for place in plan_places(out, [ratio], None).values():
        standing_plan(place, overwrite=overwrite)
    record = analyze_into(out)
    (written,) = write_plans(read_analysis(out), [ratio], overwrite=overwrite)
    return record, written
