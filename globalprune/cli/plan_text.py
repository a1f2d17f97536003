"""What `gp analyze` and `gp plan` say of the plans that they wrote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from globalprune.cli import console
from globalprune.errors import BudgetError

if TYPE_CHECKING:
    from globalprune.artifacts.plans.budget_needs import Met
    from globalprune.planning.planner import Planned
    from globalprune.planning.writing import WrittenPlan


def plan_lines(written: "Sequence[WrittenPlan]") -> list[str]:
    """What every plan removes, and what that costs."""
    from globalprune.artifacts.plans.budget_needs import PARAMETERS
    from globalprune.planning.header import importance_lines, removal_text

    lines = []
    for plan in written:
        lines.append(f"{plan.path}: {removal_text(plan.planned.effect)}")
        scoring = plan.planned.scoring
        lines += [
            f"  leaves {met.need.text(met.after)}, of {met.need.text(met.need.before)}"
            for met in plan.planned.met
            if met.need.unit != PARAMETERS
        ]
        lines += [
            f"  {line}" for line in importance_lines(plan.planned.plan, scoring, plan.optimality)
        ]
    return lines


def finish(written: "Sequence[WrittenPlan]") -> None:
    """Say what is doubtful; raise `BudgetError` where a ratio was not reached."""
    for note in dict.fromkeys(note for plan in written for note in plan.planned.notes):
        console.say(f"note: {note}")
    short = [plan for plan in written if not plan.planned.reached]
    if short:
        raise BudgetError("\n".join(map(_complaint, short)))


def _shortfall(planned: "Planned", met: "Met") -> str:
    """What was asked beyond reach: a ratio that is too much, or a remainder that is too little."""
    beyond = (
        f"more than {planned.limits_text} allow"
        if "ratio" in met.need.asked
        else f"less than {planned.limits_text} leave"
    )
    return (
        f"{planned.asked_text(met)} asks for {beyond}, which is {planned.reachable_text(met)} "
        f"({met.need.text(met.after)} left of {met.need.text(met.need.before)})"
    )


def _complaint(written: "WrittenPlan") -> str:
    """Say how far the plan falls short, and why."""
    planned = written.planned
    broken = " ".join(planned.broken)
    if all(met.reached for met in planned.met):
        return f"{written.path}: {broken} The plan was written all the same."
    short = " and ".join(_shortfall(planned, met) for met in planned.met if not met.reached)
    beyond = "more" if any("ratio" in met.need.asked for met in planned.met) else "less"
    more = "" if planned.all_measured else ", or measure more layers"
    if planned.in_the_way:
        more += f", or do without {' or '.join(planned.in_the_way)}"
    said = (
        f"{written.path}: {short}; the largest plan was written. "
        f"Ask for no {beyond} than that{more}."
    )
    return f"{said} {broken}".rstrip()
