"""What an analysis knows of a plan: the importance that the plan was made by."""

from globalprune.artifacts.analyses.analysis import Analysis, scored_table
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_summary import plan_scoring
from globalprune.planning.figures import ImportanceByGroup


def worth_of(plan: PrunePlan, analysis: Analysis) -> tuple[ImportanceByGroup, str]:
    """The importance that the plan was made by, and a doubt where the table lacks it by now."""
    scoring, doubt = plan_scoring(plan, analysis)
    return ImportanceByGroup.of(scored_table(analysis, scoring), scoring), doubt
