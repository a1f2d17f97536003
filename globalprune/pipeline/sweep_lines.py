"""Which points of a sweep a curve may join: plans that came about alike, and remove differently."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from globalprune.artifacts.plans.plan import PrunePlan, Target


def line_names(
    plans: "Mapping[Path, PrunePlan]", compensated: Mapping[Path, bool]
) -> dict[Path, str]:
    """The name of every plan's line; plans that a person had a hand in stand alone."""
    tables = {plan.analysis.table for plan in plans.values() if plan.analysis is not None}
    names = {}
    for path, plan in plans.items():
        said = list(_words(path, plan, several_tables=len(tables) > 1))
        names[path] = ", ".join([*said, "compensated"] if compensated[path] else said)
    return names


def _words(path: Path, plan: "PrunePlan", *, several_tables: bool) -> Iterator[str]:
    """Yield what tells how a plan came about, but for how much it removes."""
    if plan.analysis is None:
        yield f"by hand ({path.stem})"
        return
    yield plan.analysis.importance
    if plan.analysis.normaliser is not None:
        yield plan.analysis.normaliser
    if several_tables:
        yield f"table {plan.analysis.table.partition(':')[2][:6]}"
    if plan.target is not None:
        yield from _target_words(plan.target)
    if plan.pin:
        yield "pinned"
    if not plan.remove_empty_layers:
        yield "empty layers stay"
    if plan.edited:
        yield f"edited ({path.stem})"


def _target_words(target: "Target") -> Iterator[str]:
    """Yield the strategy, the constraints, and budgets other than a ratio."""
    if target.strategy != "knapsack":
        yield target.strategy
    for name, value in target.constraints.said().items():
        yield name if value is True else f"{name} {value}"
    yield from (f"by {name}" for name in target.counted() if name != "ratio")
    if target.within:
        yield "nested"
