"""What is said of the plans that a command made, to a person and to a program."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from globalprune.cli import console
from globalprune.errors import BudgetError

if TYPE_CHECKING:
    from globalprune.artifacts.plans.budgets import Met
    from globalprune.planning.planner import Planned
    from globalprune.planning.write import WrittenPlan


def plan_lines(written: "Sequence[WrittenPlan]") -> list[str]:
    """What every plan that was written removes, and what that costs."""
    from globalprune.planning.summary import importance_lines, removal_text

    lines = []
    for plan in written:
        if not plan.written:
            continue
        lines.append(f"{plan.path}: {removal_text(plan.planned.effect)}")
        scoring = plan.planned.scoring
        lines += [f"  {line}" for line in plan.planned.resources.lines]
        lines += [
            f"  leaves {met.need.text(met.after)}, of {met.need.text(met.need.before)}"
            for met in plan.planned.met
            if "latency" in met.need.asked
        ]
        lines += [
            f"  {line}" for line in importance_lines(plan.planned.plan, scoring, plan.optimality)
        ]
    return lines


def finish(
    written: "Sequence[WrittenPlan]", *, by_default: bool = False, go_on: str = "--largest"
) -> None:
    """Say what is doubtful; raise `BudgetError` where a plan is not what was asked for.

    Where the budget was nobody's wish but the default, that is a note. `go_on` is what a person
    says to have the largest plan all the same.
    """
    say_notes(written)
    raise_if_short(written, by_default=by_default, go_on=go_on)


def raise_if_short(
    written: "Sequence[WrittenPlan]", *, by_default: bool = False, go_on: str = "--largest"
) -> None:
    """Do the same, for who has said already what is doubtful."""
    complaints = [_complaint(plan, go_on) for plan in written if not plan.planned.reached]
    if complaints and by_default:
        for complaint in complaints:
            console.note(f"by the default ratio: {complaint}")
    elif complaints:
        raise BudgetError("\n".join(complaints))


def say_notes(written: "Sequence[WrittenPlan]") -> None:
    """Say what is doubtful about the plans that were written, each doubt once."""
    notes = (note for plan in written if plan.written for note in plan.planned.notes)
    for note in dict.fromkeys(notes):
        console.note(note)


def plan_document(written: "WrittenPlan") -> dict[str, Any]:
    """One plan's figures for a program; of a plan that was not written, what it would be."""
    from globalprune.cli.check_text import optimality_document

    planned = written.planned
    effect = planned.effect
    return {
        "path": str(written.path),
        "written": written.written,
        "asked": planned.plan.target.said() if planned.plan.target else {},
        "budgets": [
            {
                "asked": met.need.asked,
                "unit": met.need.unit,
                "before": met.need.in_units(met.need.before),
                "at_most": met.need.in_units(met.need.at_most),
                "after": met.need.in_units(met.after),
                "reached": met.reached,
                "reachable": planned.reachable_text(met),
            }
            for met in planned.met
        ],
        "ratio": effect.ratio,
        "parameters_before": effect.parameters_before,
        "parameters_after": effect.parameters_after,
        "removed": effect.removed,
        **planned.resources.document,
        "removed_groups": effect.removed_groups,
        "dropped_layers": effect.dropped_layers,
        "reached": planned.reached,
        "in_the_way": planned.in_the_way,
        "broken": planned.broken,
        **optimality_document(written.optimality),
        "notes": planned.notes,
    }


def shortfall(planned: "Planned") -> str:
    """What was asked beyond reach, and what can be had."""
    return " and ".join(_shortfall(planned, met) for met in planned.met if not met.reached)


def _shortfall(planned: "Planned", met: "Met") -> str:
    """One budget: a ratio that is too much, or a remainder that is too little."""
    beyond = (
        f"more than {planned.limits_text} allow"
        if "ratio" in met.need.asked
        else f"less than {planned.limits_text} leave"
    )
    return (
        f"{planned.asked_text(met)} asks for {beyond}, which is {planned.reachable_text(met)} "
        f"({met.need.text(met.after)} left of {met.need.text(met.need.before)})"
    )


def _complaint(written: "WrittenPlan", go_on: str) -> str:
    """Say how far the plan falls short, why, and what became of it."""
    planned = written.planned
    broken = " ".join(planned.broken)
    older = f" ({written.path} is an older one)" if written.path.exists() else ""
    if all(met.reached for met in planned.met):
        done = (
            "it was written all the same."
            if written.written
            else (f"no plan was written{older}; say {go_on} to have the nearest one.")
        )
        return f"{written.path}: {broken} So {done}"
    beyond = "more" if any("ratio" in met.need.asked for met in planned.met) else "less"
    ways = [f"ask for no {beyond} than that"]
    if not planned.all_measured:
        ways.append("measure more layers")
    if planned.in_the_way:
        ways.append(f"do without {' or '.join(planned.in_the_way)}")
    if not written.written:
        ways.append(f"say {go_on} to have the largest plan")
    made = "the largest plan was written" if written.written else f"no plan was written{older}"
    stays = f"{planned.outside:,} parameters are in no measured group, so they stay"
    said = f"{written.path}: {shortfall(planned)}; {stays}; {made}. {_joined(ways)}."
    return f"{said} {broken}".rstrip()


def _joined(ways: list[str]) -> str:
    """Ways out as a sentence's beginning: `Ask for …, or do without …`."""
    *first, last = ways
    text = f"{', '.join(first)}, or {last}" if first else last
    return text[0].upper() + text[1:]
