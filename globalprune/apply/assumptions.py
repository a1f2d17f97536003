"""What a plan's importance counts on, and whether applying it keeps to that."""

from collections.abc import Iterator

from globalprune.artifacts.plans.prune_plan import PrunePlan


def unmet_assumptions(plan: PrunePlan, *, compensating: bool) -> Iterator[str]:
    """Yield a warning for each; the plan is applied as it stands."""
    reference = plan.analysis
    if reference is None or reference.assumes is None:
        return
    if not compensating:
        yield (
            f"was made by {reference.importance}, which counts what is lost behind compensation, "
            "and none is asked for; gp apply it with --compensate --data SRC, or plan by another "
            "importance."
        )
    if plan.edited:
        yield (
            f"was edited, and {reference.importance} counts what is lost along its own order; its "
            "figures no longer hold for the groups that were exchanged."
        )
