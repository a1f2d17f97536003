"""What a plan's importance counts on, and whether applying it keeps to that."""

from collections.abc import Iterator

from globalprune.artifacts.plans.plan import PrunePlan


def repair_advice(plan: PrunePlan, *, compensating: bool) -> str | None:
    """What a cut by the plan would gain by, where it neither counts on a repair nor gets one."""
    counts_on_it = plan.analysis is not None and plan.analysis.assumes == "compensation"
    if compensating or counts_on_it or not plan.layers:
        return None
    return (
        "what stays is not repaired: --compensate --data SRC solves it anew on text, without "
        "training, and mostly wins back a good part of what the cut costs."
    )


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
