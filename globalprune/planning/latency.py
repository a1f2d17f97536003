"""Latency budgets: the machine's measured times as a constraint on what is cut."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.disk import relative_path
from globalprune.artifacts.evaluations.latency import Latencies, MachineRecord, read_machine_record
from globalprune.artifacts.plans.budgets import BudgetRequirement, BudgetStatus
from globalprune.artifacts.plans.plan import Budgets, MachineReference, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.records import digest_json
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.knapsack import Ints, Mask
from globalprune.planning.selection import Choice

_STEPS: Final = 12  # of the search, in turns by interpolation and by halving
_NEAR: Final = 1000  # a part of the amount, by which overshooting it is near enough
_MILLION: Final = 1e6  # nanoseconds a millisecond


class LatencyRequirement(BudgetRequirement):
    """Nanoseconds a token, told as milliseconds."""

    def text(self, amount: int) -> str:
        """Milliseconds."""
        return f"{amount / _MILLION:.3f} ms a token"


@dataclass(frozen=True, eq=False)
class LatencyBudget:
    """Nanoseconds that a decoded token may take, by what was measured of this structure."""

    latencies: Latencies
    milliseconds: float
    table: GroupTable
    structure: ModelStructure

    def need(self, amount: int | None = None) -> BudgetRequirement:
        """The goal in nanoseconds, or what saves so many of them by the average of each kind."""
        before = self.latencies.nanoseconds_per_token(self._whole())
        at_most = int(_MILLION * self.milliseconds) if amount is None else before - amount
        per_group = [self.latencies.nanoseconds_per_group(kind) for kind in GROUP_TYPES]
        cost = np.tile(np.asarray(per_group, np.int64), (len(self.structure.layers), 1))
        return LatencyRequirement(
            ("latency",), "nanoseconds a token", before, at_most, cost, loose=True
        )

    def met_by(self, taken: Mask) -> BudgetStatus:
        """How far the goal is met where these rows go, by interpolation."""
        need = self.need()
        return BudgetStatus(
            need, need.before - self.latencies.nanoseconds_per_token(self._kept(taken))
        )

    def _whole(self) -> Ints:
        """The groups that every layer has, `[layers, kinds]`."""
        return np.asarray(
            [
                [layer.sublayer(kind).groups for kind in GROUP_TYPES]
                for layer in self.structure.layers
            ]
        )

    def _kept(self, taken: Mask) -> Ints:
        """The groups that every layer keeps, `[layers, kinds]`."""
        kept = self._whole()
        np.subtract.at(kept, (self.table.layer_idx[taken], self.table.group_type[taken]), 1)
        return kept


def select_within_latency(
    goal: LatencyBudget, most: Mask, choose: Callable[[BudgetRequirement], Choice]
) -> Choice:
    """The choice that has to save least, by averages, for the goal to be met by interpolation.

    `most` are the rows that may go or must; where all don't meet the goal, the largest choice.
    """
    amount = goal.need().amount
    low, low_saved, best = 0, 0, choose(goal.need(0))
    if goal.met_by(best.taken).reached:
        return replace(best, gap=0.0)  # of a knapsack of averages, it would tell nothing
    costs = goal.need().of_rows(goal.table.layer_idx, goal.table.group_type)
    high, high_saved = int(costs[most].sum()), goal.met_by(most).saved
    best = choose(goal.need(high))
    for step in range(_STEPS):
        if not low_saved < amount <= high_saved or high - low <= 1:
            break
        part = 0.5 if step % 2 else (amount - low_saved) / (high_saved - low_saved)
        middle = min(max(low + round(part * (high - low)), low + 1), high - 1)
        found = choose(goal.need(middle))
        saved = goal.met_by(found.taken).saved
        if saved < amount:
            low, low_saved = middle, saved
            continue
        high, high_saved, best = middle, saved, found
        if (saved - amount) * _NEAR <= amount:
            break
    return replace(best, gap=0.0)  # of a knapsack of averages, it would tell nothing


@dataclass(frozen=True)
class Machine:
    """A record of latencies, and the file that it is in."""

    path: Path
    record: MachineRecord

    @property
    def latencies(self) -> Latencies:
        """What was measured, as curves."""
        return Latencies.of(self.record)

    def cited_from(self, plan: Path) -> MachineReference:
        """The way to it from the folder of a plan."""
        way = relative_path(plan.parent, self.path)
        return MachineReference(path=way, record=_digest(self.record))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was doubtful when it was measured."""
        return tuple(f"{self.path}: {warning}" for warning in self.record.warnings)


def machine_for(path: Path | None, budgets: Budgets, structure: ModelStructure) -> Machine | None:
    """The machine that a latency is told by, for a model of that structure; None without one.

    Raise `UsageError` where one is said without the other, and for another structure.
    """
    if path is None:
        if budgets.latency is not None:
            raise UsageError("--latency: is told by what gp measure wrote; name it with --machine.")
        return None
    if budgets.latency is None:
        raise UsageError(f"--machine {path}: tells a latency, and none is asked; say --latency.")
    record = read_machine_record(path)
    if not _fits(record, structure):
        raise UsageError(
            f"--machine {path}: was measured for {record.model.source}, which has another "
            "structure than the model that was analyzed; run gp measure for that one."
        )
    return Machine(path, record)


def machine_path(plan: PrunePlan, path: Path) -> Path | None:
    """Where the machine lies that a plan at `path` names."""
    cited = plan.target.machine if plan.target else None
    return None if cited is None else path.resolve().parent / cited.path


def cited_machine(
    plan: PrunePlan, path: Path, structure: ModelStructure
) -> tuple[Machine | None, str | None]:
    """The machine that a plan at `path` names, if it is still that one; else what is to be said."""
    cited, file = plan.target.machine if plan.target else None, machine_path(plan, path)
    if cited is None or file is None:
        return None, None
    try:
        machine = Machine(file, read_machine_record(file))
    except (ArtifactError, OSError) as error:
        return None, f"{path}: its latency is unknown: target.machine: {error}"
    if _digest(machine.record) != cited.record or not _fits(machine.record, structure):
        return None, f"{path}: its latency is unknown, since {file} was measured again."
    return machine, None


def latency_of(effect: PlanEffect, latencies: Latencies) -> float:
    """Milliseconds that a token takes by what every layer keeps, to the nanosecond."""
    kept = np.asarray([[len(layer.of(kind)) for kind in GROUP_TYPES] for layer in effect.layers])
    return latencies.nanoseconds_per_token(kept) / _MILLION


def latency_violations(plan: PrunePlan, effect: PlanEffect, latencies: Latencies) -> Iterator[str]:
    """Yield a sentence where what the plan leaves takes longer than its target allows."""
    asked = plan.target.latency if plan.target else None
    takes = latency_of(effect, latencies)
    if asked is not None and takes > asked:
        yield f"takes {takes:.3f} ms a token where target.latency allows {asked} ms."


def _fits(record: MachineRecord, structure: ModelStructure) -> bool:
    """Whether the layers that were timed are those of the structure."""
    timed = {kind: record.full.kept(kind) for kind in GROUP_TYPES}
    return (
        record.model.structure == structure.fingerprint
        and record.layers == len(structure.layers)
        and all(sublayer.groups == timed[kind] for _, kind, sublayer in structure.sublayers())
    )


def _digest(record: MachineRecord) -> str:
    """What the times depend on, and they themselves."""
    return digest_json(record.model_dump(mode="json", include={"model", "layers", "points"}))
