"""What is asked of each of several plans: the ratios, with the other budgets and constraints."""

from collections.abc import Sequence

from globalprune.artifacts.plan_constraints import Constraints
from globalprune.artifacts.plan_target import Budgets, Target
from globalprune.errors import UsageError


def targets_of(
    ratios: Sequence[float | None], budgets: Budgets, constraints: Constraints, *, nested: bool
) -> dict[float | None, Target]:
    """A target for each ratio; None stands for one plan by the other budgets.

    Of `nested` plans each removes all that those of smaller ratios do. Raise `UsageError` where
    nothing is asked.
    """
    if list(ratios) == [None] and not budgets.said():
        raise UsageError(
            "no budget: say how much to remove with --ratio 0.2, or how much may be left with "
            "--params, --size, --kv-cache or --flops."
        )
    said = budgets.model_dump(exclude={"ratio"})
    targets: dict[float | None, Target] = {}
    within: tuple[float, ...] = ()
    for ratio in sorted(ratios, key=lambda ratio: ratio or 0):
        targets[ratio] = Target(**said, ratio=ratio, constraints=constraints, within=within)
        within = (*within, ratio) if nested and ratio else within
    return targets
