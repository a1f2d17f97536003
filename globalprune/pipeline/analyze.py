"""gp analyze: measures a model, and writes the first plan beside the analysis."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.artifacts.disk import refuse_occupied
from globalprune.artifacts.own_files import ANALYSIS_MARKERS
from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan_file import existing_plan
from globalprune.artifacts.run_folder import RunFolder
from globalprune.options import AnalyzeOptions, PlanOptions
from globalprune.pipeline.trial import candidates_at
from globalprune.planning.options import plan_paths
from globalprune.planning.planner import PlanResult
from globalprune.planning.write import write_plans
from globalprune.progress import SILENT, Reporter

if TYPE_CHECKING:
    from globalprune.artifacts.analyses.analysis import Analysis
    from globalprune.models.prepared_model import PreparedModel


@dataclass(frozen=True)
class AnalyzeResult:
    """An analysis, and its first plan, which was written if the ratio can be reached."""

    analysis: "Analysis"
    plan: PlanResult


def analyze_and_plan(
    model: "PreparedModel", out: Path, options: AnalyzeOptions, *, reporter: Reporter = SILENT
) -> AnalyzeResult:
    """Write the analysis, which tries its first plan, then the plan; if that fails, it stays.

    A ratio that can't be reached leaves no plan, unless the largest one will do.
    """
    refuse_bad_ratio(options.ratio)
    refuse_occupied(out, ours=ANALYSIS_MARKERS, overwrite=options.overwrite)
    RunFolder.beside(out).refuse_unfinished(resume=options.resume, overwrite=options.overwrite)
    for place in plan_paths(out, [options.ratio], None).values():
        existing_plan(place, overwrite=options.overwrite)
    from globalprune.analysis.analyzer import analyze_model  # loads torch

    analyze_model(model, out, options, candidates=candidates_at(options.ratio), reporter=reporter)
    analysis = read_analysis(out)
    plan_options = PlanOptions(
        (options.ratio,), overwrite=options.overwrite, largest=options.largest
    )
    (written,) = write_plans(analysis, plan_options)
    return AnalyzeResult(analysis, written)
