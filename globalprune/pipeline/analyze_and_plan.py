"""`gp analyze`: measure a model and write the first plan beside the analysis.

A bad ratio, and whatever is in the way in the folder, is refused before torch is loaded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.artifacts.disk import refuse_occupied
from globalprune.artifacts.own_files import MARKS_OF_ANALYSIS
from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan_file import standing_plan
from globalprune.artifacts.run_folder import RunFolder
from globalprune.pipeline.trial import candidates_at
from globalprune.planning.options import plan_places
from globalprune.planning.write import WrittenPlan, write_plans

if TYPE_CHECKING:
    from globalprune.analysis.trial import Candidates
    from globalprune.artifacts.analyses.analysis import AnalysisRecord


def analyze_and_plan(
    analyze_into: "Callable[[Path, Candidates], AnalysisRecord]",
    out: Path,
    ratio: float,
    *,
    resume: bool,
    overwrite: bool,
    largest: bool = False,
) -> "tuple[AnalysisRecord, WrittenPlan]":
    """Write the analysis, which tries its plan, then the plan; if that fails, the analysis stays.

    A ratio that can't be reached leaves no plan, unless the `largest` one will do.
    """
    refuse_bad_ratio(ratio)
    refuse_occupied(out, ours=MARKS_OF_ANALYSIS, overwrite=overwrite)
    RunFolder.beside(out).refuse(resume=resume, overwrite=overwrite)
    for place in plan_places(out, [ratio], None).values():
        standing_plan(place, overwrite=overwrite)
    record = analyze_into(out, candidates_at(ratio))
    (written,) = write_plans(read_analysis(out), [ratio], overwrite=overwrite, largest=largest)
    return record, written
