"""What `gp analyze` and `gp plan` say of the plans that they wrote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from globalprune.cli import console
from globalprune.errors import BudgetError

if TYPE_CHECKING:
    from globalprune.planning.writing import WrittenPlan


def plan_lines(written: "Sequence[WrittenPlan]") -> list[str]:
    """A line for every plan."""
    from globalprune.planning.header import removal_text

    return [f"{plan.path}: {removal_text(plan.planned.effect)}" for plan in written]


def finish(written: "Sequence[WrittenPlan]") -> None:
    """Say what is doubtful; raise `BudgetError` where a ratio was not reached."""
    for note in dict.fromkeys(note for plan in written for note in plan.planned.notes):
        console.say(f"note: {note}")
    short = [plan for plan in written if not plan.planned.reached]
    if short:
        raise BudgetError("\n".join(map(_complaint, short)))


def _complaint(written: "WrittenPlan") -> str:
    """Say how far the plan falls short, and why."""
    planned = written.planned
    more = "" if planned.all_measured else ", or measure more layers"
    pinned = "the pins and " if planned.plan.pin else ""
    return (
        f"{written.path}: ratio {planned.ratio} asks for {planned.asked:,} parameters, but "
        f"{pinned}the measured groups allow {planned.effect.removed:,} "
        f"({100 * planned.effect.ratio:.2f} %); the largest plan was written. "
        f"Ask for less{more}."
    )
