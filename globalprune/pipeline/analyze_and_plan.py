"""`gp analyze`: measure a model and write the first plan beside the analysis.

What the plan would refuse (a bad ratio, an edited plan.yaml) is refused before the model is run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globalprune.artifacts.analysis_folder import read_analysis
from globalprune.artifacts.plan_file import refuse_lost_work
from globalprune.planning.places import plan_places
from globalprune.planning.writing import WrittenPlan, write_plans

if TYPE_CHECKING:
    from globalprune.artifacts.analysis_record import AnalysisRecord

RATIO = 0.25


def analyze_and_plan(
    model: str,
    out: Path,
    *,
    ratio: float = RATIO,
    overwrite: bool = False,
    importances: Sequence[str] | None = None,
    **options: Any,
) -> "tuple[AnalysisRecord, WrittenPlan]":
    """Analyze with `options` (those of `analyze`), then plan; the analysis stays if that fails."""
    from globalprune.analyze.analyzer import analyze

    for place in plan_places(out, [ratio], None).values():
        refuse_lost_work(place, overwrite=overwrite)
    if importances:
        options["importances"] = importances
    record = analyze(model, out, overwrite=overwrite, **options)
    (written,) = write_plans(read_analysis(out), [ratio], overwrite=overwrite)
    return record, written
