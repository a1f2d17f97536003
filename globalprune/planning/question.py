"""What a plan is asked, and the rows of the table that answer it.

The same question without one of its constraints tells which of them is in the way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.evaluations.latency import Latencies
from globalprune.artifacts.plans.budgets import Met, Need, needs_of
from globalprune.artifacts.plans.plan import Budgets, Constraints, Target
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.asked import option_of
from globalprune.planning.choice import Choice, choose
from globalprune.planning.knapsack.problem import Mask
from globalprune.planning.latency import LatencyGoal, choose_in_time
from globalprune.planning.layerwise import DEFAULT_SHARE, choose_by_layer
from globalprune.planning.limits import limited
from globalprune.planning.pins import Pins, Wishes, wishes_of
from globalprune.planning.runtime_bounds import at_width, bound_by_runtime, stock_widths
from globalprune.planning.structure_bounds import refuse_impossible


@dataclass(frozen=True, eq=False)
class Answer:
    """What goes, and how far every need is met."""

    choice: Choice
    met: tuple[Met, ...]
    pinned: tuple[Met, ...]  # the same by the pins alone
    bound: tuple[Met, ...]  # the same by all that must go, before anything is chosen

    @property
    def reached(self) -> bool:
        """Whether at least what was asked is saved."""
        return all(one.reached for one in self.met)


@dataclass(frozen=True, eq=False)
class Question:
    """A target and a person's pins, for the groups of a table."""

    analysis: Analysis
    table: GroupTable  # scored as the plan is to be
    target: Target
    pins: Pins
    pins_of: str  # the file that they stand in
    latencies: Latencies | None = None  # of the machine that the target names

    @cached_property
    def constraints(self) -> Constraints:
        """What binds the answer: what was asked, and what the runtime needs."""
        return bound_by_runtime(self.target.constraints, self.analysis.record)

    def answer(self) -> Answer:
        """Choose what goes; raise `PlanInvalid` where pins or constraints can't be kept."""
        record = self.analysis.record
        refuse_impossible(self.constraints, record.structure)
        if self.constraints.uniform and len(record.measured) < len(record.structure.layers):
            raise UsageError(
                "layers that are alike: only layers "
                f"{record.layers[0]}:{record.layers[1]} were measured, and the others stay as they "
                "are; analyze all of them, or plan without --uniform (and without --for)."
            )
        widths = stock_widths(record) if self.constraints.uniform else []
        if not widths:
            return self._answer()
        answers, refusals = [], []
        for width in widths:  # few; the best of the choices for each is the best choice
            try:
                answers.append(self._answer(width))
            except PlanInvalid as error:
                refusals.append(error)
        if not answers:
            raise refusals[-1]
        best = min(answers, key=self._shortfall_and_loss)
        lost = self._lost(best)
        least = min(
            self._lost(one) * (1 - one.choice.gap) for one in answers if one.reached or one is best
        )
        gap = max(0.0, 1 - least / lost) if lost else 0.0
        return replace(best, choice=replace(best.choice, gap=gap))

    def _shortfall_and_loss(self, answer: Answer) -> tuple[int, float]:
        """What is missing of the needs, and the importance that goes."""
        missing = sum(max(0, one.need.amount - one.saved) for one in answer.met)
        return missing, self._lost(answer)

    def _lost(self, answer: Answer) -> float:
        """The importance that goes."""
        return float(self.table.importance[answer.choice.taken].sum())

    def _answer(self, attention: int | None = None) -> Answer:
        """Choose what goes, where so many attention groups of every layer stay, if that is said."""
        record = self.analysis.record
        needs = needs_of(self.target, record.structure, record.model.storage)
        pinned = wishes_of(self.analysis, self.table, self.pins, self.pins_of)
        bounded = self._bounded(pinned, attention)
        choice = self._choice(bounded, needs)
        masks = (choice.taken, pinned.must_go, bounded.must_go)
        return Answer(choice, *(self._met(needs, mask) for mask in masks))

    def _bounded(self, wishes: Wishes, attention: int | None) -> Wishes:
        """What must and may go by all that binds single halves."""
        inner = self._taken_within
        wishes = Wishes(wishes.must_go | inner, wishes.free & ~inner)
        if attention is not None:
            wishes = at_width(self.table, wishes, attention, self.pins_of)
        return limited(self.table, wishes, self.constraints, self.pins_of)

    def _choice(self, wishes: Wishes, needs: tuple[Need, ...]) -> Choice:
        """What goes of that, by the strategy that was asked for."""
        constraints = self.constraints
        bounds: Any = {
            "prunable": self.analysis.record.structure.prunable,
            "where": self.pins_of,
        }
        if self.target.strategy == "layerwise":
            share = constraints.attention_share
            share = DEFAULT_SHARE if share is None else share
            amount = self._parameters_to_go(needs)
            taken = choose_by_layer(self.table, wishes, amount, share, **bounds)
            return Choice(taken, 0.0)
        choose_for = partial(choose, self.table, wishes, constraints, **bounds)
        goal = self._goal()
        if goal is None:
            return choose_for(needs=needs)
        most = wishes.must_go | wishes.free
        return choose_in_time(goal, most, lambda need: choose_for(needs=(*needs, need)))

    def _goal(self) -> LatencyGoal | None:
        """The latency that is asked for."""
        milliseconds, structure = self.target.latency, self.analysis.record.structure
        if milliseconds is None:
            return None
        if self.latencies is None:
            raise UsageError(
                "target.latency: is told by what gp measure wrote, and no such record is at hand; "
                "name it with --machine."
            )
        return LatencyGoal(self.latencies, milliseconds, self.table, structure)

    def in_the_way(self) -> Iterator[str]:
        """Yield every constraint without which a budget could be kept, and the pins if so."""
        constraints = self.target.constraints
        for name in constraints.said():
            lifted = self.target.model_copy(update={"constraints": constraints.without(name)})
            if replace(self, target=lifted).can_be_reached():
                yield option_of(name)
        if self.pins and replace(self, pins={}).can_be_reached():
            yield "the pins"

    def can_be_reached(self) -> bool:
        """Whether it can be answered, and the answer is enough."""
        try:
            return self.answer().reached
        except (PlanInvalid, UsageError):
            return False

    @cached_property
    def _taken_within(self) -> Mask:
        """What the plans of smaller ratios remove, each all of the one before."""
        if not self.target.within:
            return np.zeros(len(self.table), bool)
        *smaller, last = self.target.within
        inner = Target(ratio=last, within=tuple(smaller), constraints=self.target.constraints)
        return replace(self, target=inner).answer().choice.taken

    def _met(self, needs: tuple[Need, ...], taken: Mask) -> tuple[Met, ...]:
        """How far each need is met."""
        kinds = self.table.group_type
        met = [
            Met(need, int(need.of_rows(self.table.layer_idx, kinds)[taken].sum())) for need in needs
        ]
        goal = self._goal()
        return (*met, *([] if goal is None else [goal.met_by(taken)]))

    def _parameters_to_go(self, needs: tuple[Need, ...]) -> int:
        """The fewest parameters that save enough of parameters and bytes, whatever groups go."""
        (parameters,) = needs_of(Budgets(ratio=0), self.analysis.record.structure, None)
        cost = parameters.cost
        fewest = []
        for need in needs:
            may_go = need.cost > 0
            worst = max(
                (
                    Fraction(int(a), int(b))
                    for a, b in zip(cost[may_go], need.cost[may_go], strict=True)
                ),
                default=Fraction(0),
            )
            fewest.append(math.ceil(need.amount * worst))
        return max(fewest)
