"""What is asked of each of several plans: the ratios, with the other budgets and constraints."""

from collections.abc import Sequence

from pydantic import ValidationError

from globalprune.artifacts.plans.plan import (
    STRATEGIES,
    Budgets,
    Constraints,
    MachineReference,
    Target,
)
from globalprune.artifacts.stored_weights import NUMBER_BYTES, StoredWeights
from globalprune.errors import UsageError


def counted_as_stored(budgets: Budgets, storage: StoredWeights | None) -> Budgets:
    """The budgets, in whose bytes numbers count as they are stored, unless a dtype is named.

    Of weights in several dtypes each counts in its own.
    """
    if budgets.size is None and budgets.kv_cache is None:
        return budgets
    stored = None if storage is None else storage.dtype
    if budgets.dtype is not None or stored not in NUMBER_BYTES:
        return budgets
    return budgets.model_copy(update={"dtype": stored})


def targets_of(
    ratios: Sequence[float | None],
    budgets: Budgets,
    constraints: Constraints,
    *,
    nested: bool,
    strategy: str,
    machine: MachineReference | None = None,
) -> dict[float | None, Target]:
    """A target for each ratio; None stands for one plan by the other budgets.

    Of `nested` plans each removes all that those of smaller ratios do. Raise `UsageError` where
    nothing is asked, or what the strategy can't keep.
    """
    if list(ratios) == [None] and not budgets.said():
        raise UsageError(
            "no budget: say how much to remove with --ratio 0.2, or how much may be left with "
            "--params, --size, --kv-cache, --flops or --latency."
        )
    said = budgets.model_dump(exclude={"ratio"})
    targets: dict[float | None, Target] = {}
    within: tuple[float, ...] = ()
    for ratio in sorted(ratios, key=lambda ratio: ratio or 0):
        asked = {**said, "ratio": ratio, "constraints": constraints, "strategy": strategy}
        asked["machine"] = machine
        try:
            targets[ratio] = Target(**asked, within=within)
        except ValidationError as error:
            raise UsageError(_told(error)) from error
        within = (*within, ratio) if nested and ratio else within
    return targets


def _told(error: ValidationError) -> str:
    """What is wrong, in our words."""
    found = error.errors()[0]
    if found["type"] == "literal_error":
        return f"--strategy {found['input']}: there is {' and '.join(STRATEGIES)}."
    return str(found.get("ctx", {}).get("error", found["msg"]))
