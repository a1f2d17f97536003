"""Plans to disk: several ratios of one analysis, with the pins that a person left there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from globalprune.artifacts.analyses.analysis import Analysis, doubt_of
from globalprune.artifacts.disk import way_from
from globalprune.artifacts.plans.plan import Budgets, Constraints, PrunePlan, Target, budgets_of
from globalprune.artifacts.plans.plan_file import (
    PLAN_FILE,
    Draft,
    StandingPlan,
    read_plan,
    replace_plans,
    standing_plan,
)
from globalprune.planning.asked import constraints_kept
from globalprune.planning.header import header_of
from globalprune.planning.knowledge import worth_of
from globalprune.planning.machines import Machine, cited_machine, machine_asked
from globalprune.planning.optimality import Optimality, optimality_of
from globalprune.planning.pins import Pins
from globalprune.planning.places import plan_places
from globalprune.planning.planner import Planned, make_plan
from globalprune.planning.replanning import edited_pins, standing_pins
from globalprune.planning.targets import counted_as_stored, targets_of

Wanted = tuple[Pins, Path, tuple[str, ...]]  # pins, where they stand, and what to say of them


@dataclass(frozen=True)
class WrittenPlan:
    """A plan, and the file that it is in; `written` says whether it is, or only could be."""

    path: Path
    planned: Planned
    optimality: Optimality | None  # None: layers go that were not measured
    written: bool = True


def write_plans(
    analysis: Analysis,
    ratios: Sequence[float],
    out: Path | None = None,
    *,
    budgets: Budgets | None = None,
    machine: Path | None = None,
    constraints: Constraints | None = None,
    importance: str | None = None,
    normaliser: str | None = None,
    nested: bool = False,
    strategy: str | None = None,
    replanned: Path | None = None,
    overwrite: bool = False,
    largest: bool = False,
) -> tuple[WrittenPlan, ...]:
    """Make a plan for every ratio and write them all; raise before the first if one is refused.

    A plan that doesn't keep what it was asked for is written only if the `largest` one will do.

    Each keeps the other `budgets` as well; without a ratio it is one plan that keeps those. Those
    of `nested` ratios remove all that the smaller ones do. A plan that is `replanned` lends its
    pins, its edits as pins, and what else it was made by wherever nothing else is said: every
    constraint, importance, strategy, and its budgets if there is none. Raise `UsageError` where
    nothing is asked.
    Pins come from the plan that is replaced, or else from the analysis's own plan.yaml.
    """
    wishes: Wanted | None = None
    budgets = budgets or Budgets()
    if replanned is not None:
        plan, pins = edited_pins(analysis, replanned)
        wishes = pins, replanned, (f"keeps the pins and edits of {replanned}.",)
        if plan.analysis is not None and importance is None:
            importance, normaliser = (
                plan.analysis.importance,
                normaliser or plan.analysis.normalised_by,
            )
        if plan.target is not None:
            constraints = constraints_kept(plan.target.constraints, constraints or Constraints())
            strategy = strategy or plan.target.strategy
        if plan.target is not None and not ratios and not budgets.said():
            ratios = [] if plan.target.ratio is None else [plan.target.ratio]
            budgets = budgets_of(plan.target)
            machine = machine or cited_machine(plan, replanned)
    budgets = counted_as_stored(budgets, analysis.record.model.storage)
    places = plan_places(analysis.folder, ratios, out)
    timed = machine_asked(machine, budgets, analysis.record.structure)
    targets = targets_of(
        list(places),
        budgets,
        constraints or Constraints(),
        nested=nested,
        strategy=strategy or "knapsack",
        machine=timed.cited_from(next(iter(places.values()))) if timed else None,
    )
    standing = {path: standing_plan(path, overwrite=overwrite) for path in places.values()}
    default = analysis.folder / PLAN_FILE
    if wishes is None and default not in standing and default.is_file():
        standing[default] = StandingPlan(read_plan(default), edited=False)
    made = [
        _planned(
            analysis,
            targets[ratio],
            path,
            wishes or standing_pins(analysis, path, standing),
            timed,
            importance=importance,
            normaliser=normaliser,
        )
        for ratio, path in places.items()
    ]
    worth, _ = worth_of(made[0].plan, analysis)
    structure = analysis.record.structure
    written, drafts = [], []
    for path, planned in zip(places.values(), made, strict=True):
        optimality = optimality_of(planned.plan, structure, planned.effect, worth)
        doubt = doubt_of(analysis.record, planned.scoring)
        parts = (planned.plan, structure, planned.effect, planned.scoring, optimality, doubt)
        header = header_of(*parts, analysis.record.model.storage)
        will_do = planned.reached or largest
        if will_do:
            drafts.append(Draft(path, planned.plan, header))
        written.append(WrittenPlan(path, planned, optimality, will_do))
    replace_plans(drafts)
    return tuple(written)


def _planned(
    analysis: Analysis,
    target: Target,
    path: Path,
    wishes: Wanted,
    machine: Machine | None,
    *,
    importance: str | None,
    normaliser: str | None,
) -> Planned:
    """One plan, its analysis named relative to where it will lie."""
    pins, source, notes = wishes
    planned = make_plan(
        analysis,
        target,
        importance=importance,
        normaliser=normaliser,
        pins=pins,
        pins_of=str(source),
        latencies=machine.latencies if machine else None,
    )
    plan = _cited(planned.plan, analysis.folder, path)
    return replace(
        planned, plan=plan, notes=(*notes, *(machine.doubts if machine else ()), *planned.notes)
    )


def _cited(plan: PrunePlan, folder: Path, path: Path) -> PrunePlan:
    """The plan with the way to its analysis, from where the plan really lies."""
    if plan.analysis is None:
        return plan
    way = way_from(path.parent, folder)
    return plan.model_copy(update={"analysis": plan.analysis.model_copy(update={"path": way})})
