"""A planning problem: a target and pins for the groups of a table, solved as its strategy says."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial

import numpy as np

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.evaluations.latency_table import Latencies
from globalprune.artifacts.plans.budgets import BudgetRequirement, BudgetStatus, requirements_of
from globalprune.artifacts.plans.plan import Budgets, Constraints, Target
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.eligibility import (
    Eligibility,
    Pins,
    add_runtime_constraints,
    apply_constraints,
    apply_pins,
    fix_attention_groups,
    refuse_unsatisfiable,
    stock_widths,
)
from globalprune.planning.knapsack import Mask, Selection
from globalprune.planning.knapsack_units import select
from globalprune.planning.latency_budget import LatencyBudget, select_within_latency
from globalprune.planning.layerwise import DEFAULT_SHARE, select_by_layer
from globalprune.planning.options import option_name


@dataclass(frozen=True, eq=False)
class PlanningProblem:
    """A target and a person's pins, for the groups of a table."""

    analysis: Analysis
    table: GroupTable  # scored as the plan is to be
    target: Target
    pins: Pins
    latencies: Latencies | None = None  # of the machine that the target names
    attention_groups: int | None = None  # that every layer keeps; None: any number
    nested_in: Mask | None = None  # the rows of the next smaller plan, where they are known

    def solve(self) -> "tuple[PlanningProblem, Selection]":
        """Return what goes; where the layers' widths are tried one by one, with the best width.

        Raise `PlanInvalid` where pins or constraints can't be kept, and `UsageError` where the
        options contradict the model.
        """
        record = self.analysis.record
        refuse_unsatisfiable(self.constraints, record.structure)
        if self.constraints.uniform and len(record.measured) < len(record.structure.layers):
            raise UsageError(
                "layers that are alike: only layers "
                f"{record.layers[0]}:{record.layers[1]} were measured, and the others stay as they "
                "are; analyze all of them, or plan without --uniform (and without --for)."
            )
        widths = stock_widths(record) if self.constraints.uniform else []
        return self._solve_widths(widths) if widths else (self, self.select())

    def select(self) -> Selection:
        """Return what goes, by the strategy of the target."""
        requirements, constraints = self._requirements, self.constraints
        prunable, source = self.analysis.record.structure.prunable, self.pins.source
        if self.target.strategy == "layerwise":
            share = constraints.attention_share
            return select_by_layer(
                self.table,
                self.eligibility,
                self._parameters_to_remove(),
                DEFAULT_SHARE if share is None else share,
                prunable=prunable,
                source=source,
            )
        select_for = partial(
            select, self.table, self.eligibility, constraints, prunable=prunable, source=source
        )
        budget = self._latency_budget()
        if budget is None:
            return select_for(requirements)
        most = self.eligibility.required | self.eligibility.allowed
        return select_within_latency(budget, most, lambda one: select_for((*requirements, one)))

    def statuses(self, removed: Mask) -> tuple[BudgetStatus, ...]:
        """Return how far each budget is met where these rows go."""
        kinds = self.table.group_type
        statuses = [
            BudgetStatus(one, int(one.costs_of(self.table.layer_idx, kinds)[removed].sum()))
            for one in self._requirements
        ]
        budget = self._latency_budget()
        return (*statuses, *([] if budget is None else [budget.status(removed)]))

    def obstacles(self) -> Iterator[str]:
        """Yield the option of every constraint without which the target is met, and the pins."""
        constraints = self.target.constraints
        for name in constraints.explicit():
            lifted = self.target.model_copy(update={"constraints": constraints.without(name)})
            if replace(self, target=lifted).can_be_met():
                yield option_name(name)
        if self.pins.layers and replace(self, pins=Pins()).can_be_met():
            yield "the pins"

    def can_be_met(self) -> bool:
        """Return whether some selection meets every budget."""
        try:
            problem, selection = self.solve()
        except (PlanInvalid, UsageError):
            return False
        return all(status.is_met for status in problem.statuses(selection.removed))

    @cached_property
    def constraints(self) -> Constraints:
        """Return the constraints of the target, and those that its runtime brings."""
        return add_runtime_constraints(self.target.constraints, self.analysis.record)

    @cached_property
    def pinned(self) -> Eligibility:
        """Return the rows that the pins require and allow."""
        return apply_pins(self.analysis, self.table, self.pins)

    @cached_property
    def eligibility(self) -> Eligibility:
        """Return the rows that pins, smaller plans and constraints require and allow."""
        inner = self._inner
        eligibility = Eligibility(self.pinned.required | inner, self.pinned.allowed & ~inner)
        source = self.pins.source
        if self.attention_groups is not None:
            eligibility = fix_attention_groups(
                self.table, eligibility, self.attention_groups, source
            )
        return apply_constraints(self.table, eligibility, self.constraints, source)

    @cached_property
    def _requirements(self) -> tuple[BudgetRequirement, ...]:
        """Return what every budget but the latency requires."""
        record = self.analysis.record
        return requirements_of(self.target, record.structure, record.model.storage)

    @cached_property
    def _inner(self) -> Mask:
        """Return the rows that the plan of the next smaller ratio removes, of nested plans."""
        if self.nested_in is not None:
            return self.nested_in
        if not self.target.within:
            return np.zeros(len(self.table), bool)
        *smaller, last = self.target.within
        inner = Target(ratio=last, within=tuple(smaller), constraints=self.target.constraints)
        _, selection = replace(self, target=inner).solve()
        return selection.removed

    def _solve_widths(self, widths: list[int]) -> "tuple[PlanningProblem, Selection]":
        """The best of the selections for each width: the best of all, since widths are few."""
        solved: list[tuple[PlanningProblem, Selection]] = []
        refusals: list[PlanInvalid] = []
        for width in widths:
            problem = replace(self, attention_groups=width, nested_in=self._inner)
            try:
                solved.append((problem, problem.select()))
            except PlanInvalid as error:
                refusals.append(error)
        if not solved:
            raise refusals[-1]
        missing = [self._missing(selection) for _, selection in solved]
        lost = [self._lost(selection) for _, selection in solved]
        best = min(range(len(solved)), key=lambda at: (missing[at], lost[at]))
        problem, selection = solved[best]
        least = min(
            lost[at] * (1 - one.gap)
            for at, (_, one) in enumerate(solved)
            if not missing[at] or at == best
        )
        return problem, replace(selection, lost=lost[best], bound=least, proven=False)

    def _missing(self, selection: Selection) -> int:
        """Return what is missing of the budgets."""
        statuses = self.statuses(selection.removed)
        return sum(max(0, one.requirement.to_save - one.saved) for one in statuses)

    def _lost(self, selection: Selection) -> float:
        """Return the importance of all rows that go."""
        return float(self.table.importance[selection.removed].sum())

    def _latency_budget(self) -> LatencyBudget | None:
        """Return the latency of the target, by the machine that it names."""
        milliseconds, structure = self.target.latency, self.analysis.record.structure
        if milliseconds is None:
            return None
        if self.latencies is None:
            raise UsageError(
                "target.latency: needs the record of gp measure, and none is at hand; "
                "name it with --machine."
            )
        return LatencyBudget(self.latencies, milliseconds, self.table, structure)

    def _parameters_to_remove(self) -> int:
        """The fewest parameters that save enough of parameters and bytes, whatever groups go."""
        (parameters,) = requirements_of(Budgets(ratio=0), self.analysis.record.structure, None)
        fewest = []
        for requirement in self._requirements:
            saves = requirement.cost > 0
            pairs = zip(parameters.cost[saves], requirement.cost[saves], strict=True)
            worst = max((Fraction(int(a), int(b)) for a, b in pairs), default=Fraction(0))
            fewest.append(math.ceil(requirement.to_save * worst))
        return max(fewest)
