"""Latency budgets: the machine's measured times decide how much has to go."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.disk import relative_path
from globalprune.artifacts.evaluations.latency_table import (
    Latencies,
    MachineRecord,
    read_machine_record,
)
from globalprune.artifacts.plans.budgets import BudgetRequirement, BudgetStatus
from globalprune.artifacts.plans.plan import Budgets, MachineReference, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.records import digest_json
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.knapsack import Ints, Mask, Selection

_STEPS: Final = 12  # of the search, by interpolation and by halving in turn
_NEAR: Final = 1000  # the part of the amount by which it may be overshot
_MILLION: Final = 1e6  # nanoseconds a millisecond


class LatencyRequirement(BudgetRequirement):
    """Nanoseconds a token, shown as milliseconds."""

    def describe(self, amount: int) -> str:
        """Spell an amount in milliseconds."""
        return f"{amount / _MILLION:.3f} ms a token"


@dataclass(frozen=True, eq=False)
class LatencyBudget:
    """Milliseconds that a decoded token may take, by what was measured of this structure."""

    latencies: Latencies
    milliseconds: float
    table: GroupTable
    structure: ModelStructure

    def requirement(self, to_save: int | None = None) -> BudgetRequirement:
        """Return the budget in nanoseconds, or what saves that many by the average of each kind."""
        before = self.latencies.nanoseconds_per_token(self._whole())
        at_most = int(_MILLION * self.milliseconds) if to_save is None else before - to_save
        per_group = [self.latencies.nanoseconds_per_group(kind) for kind in GROUP_TYPES]
        cost = np.tile(np.asarray(per_group, np.int64), (len(self.structure.layers), 1))
        unit = "nanoseconds a token"
        return LatencyRequirement(("latency",), unit, before, at_most, cost, loose=True)

    def status(self, removed: Mask) -> BudgetStatus:
        """Return how far the budget is met where these rows go, by interpolation."""
        requirement = self.requirement()
        after = self.latencies.nanoseconds_per_token(self._kept(removed))
        return BudgetStatus(requirement, requirement.before - after)

    def _whole(self) -> Ints:
        """Return the groups that every layer has, `[layers, kinds]`."""
        return np.asarray(
            [
                [layer.sublayer(kind).groups for kind in GROUP_TYPES]
                for layer in self.structure.layers
            ]
        )

    def _kept(self, removed: Mask) -> Ints:
        """Return the groups that every layer keeps, `[layers, kinds]`."""
        kept = self._whole()
        np.subtract.at(kept, (self.table.layer_idx[removed], self.table.group_type[removed]), 1)
        return kept


@dataclass(frozen=True)
class Machine:
    """A record of latencies, and the file that it is in."""

    path: Path
    record: MachineRecord

    @property
    def latencies(self) -> Latencies:
        """Return the measured times, as curves."""
        return Latencies.of(self.record)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of the measurement."""
        return tuple(f"{self.path}: {warning}" for warning in self.record.warnings)

    def reference(self, plan: Path) -> MachineReference:
        """Return how a plan at that path names the record."""
        way = relative_path(plan.parent, self.path)
        return MachineReference(path=way, record=_digest(self.record))


def select_within_latency(
    budget: LatencyBudget, most: Mask, select: Callable[[BudgetRequirement], Selection]
) -> Selection:
    """Return the selection that saves least by averages and meets the budget by interpolation.

    `most` are the rows that may go or must; where even they don't meet the budget, as many go as
    may. Its gap is 0: that of a knapsack of averages means nothing here.
    """
    to_save = budget.requirement().to_save
    low, low_saved, best = 0, 0, select(budget.requirement(0))
    if budget.status(best.removed).is_met:
        return replace(best, bound=best.lost)
    costs = budget.requirement().costs_of(budget.table.layer_idx, budget.table.group_type)
    high, high_saved = int(costs[most].sum()), budget.status(most).saved
    best = select(budget.requirement(high))
    for step in range(_STEPS):
        if not low_saved < to_save <= high_saved or high - low <= 1:
            break
        part = 0.5 if step % 2 else (to_save - low_saved) / (high_saved - low_saved)
        middle = min(max(low + round(part * (high - low)), low + 1), high - 1)
        tried = select(budget.requirement(middle))
        saved = budget.status(tried.removed).saved
        if saved < to_save:
            low, low_saved = middle, saved
            continue
        high, high_saved, best = middle, saved, tried
        if (saved - to_save) * _NEAR <= to_save:
            break
    return replace(best, bound=best.lost)


def machine_for(path: Path | None, budgets: Budgets, structure: ModelStructure) -> Machine | None:
    """Return the machine whose times a latency budget counts in; None without such a budget.

    Raise `UsageError` for a latency without a machine, a machine without a latency, and a machine
    that was measured with another structure.
    """
    if path is None:
        if budgets.latency is not None:
            raise UsageError("--latency: needs the record of gp measure; name it with --machine.")
        return None
    if budgets.latency is None:
        raise UsageError(
            f"--machine {path}: serves a latency budget, and there is none; add --latency."
        )
    record = read_machine_record(path)
    if not _fits(record, structure):
        raise UsageError(
            f"--machine {path}: was measured for {record.model.source}, which has another "
            "structure than the model that was analyzed; run gp measure for that one."
        )
    return Machine(path, record)


def machine_path(plan: PrunePlan, path: Path) -> Path | None:
    """Return where the machine is that a plan at `path` names."""
    reference = plan.target.machine if plan.target else None
    return None if reference is None else path.resolve().parent / reference.path


def cited_machine(
    plan: PrunePlan, path: Path, structure: ModelStructure
) -> tuple[Machine | None, str | None]:
    """Return the machine that a plan at `path` names, or a warning if it is gone or another one."""
    reference = plan.target.machine if plan.target else None
    file = machine_path(plan, path)
    if reference is None or file is None:
        return None, None
    try:
        machine = Machine(file, read_machine_record(file))
    except (ArtifactError, OSError) as error:
        return None, f"{path}: its latency is unknown: target.machine: {error}"
    if _digest(machine.record) != reference.record or not _fits(machine.record, structure):
        return None, f"{path}: its latency is unknown, since {file} was measured again."
    return machine, None


def latency_of(effect: PlanEffect, latencies: Latencies) -> float:
    """Return the milliseconds that a token takes in the cut model, to the nanosecond."""
    kept = np.asarray([[len(layer.of(kind)) for kind in GROUP_TYPES] for layer in effect.layers])
    return latencies.nanoseconds_per_token(kept) / _MILLION


def latency_violations(plan: PrunePlan, effect: PlanEffect, latencies: Latencies) -> Iterator[str]:
    """Yield a sentence where the cut model takes longer than the plan's target allows."""
    allowed = plan.target.latency if plan.target else None
    takes = latency_of(effect, latencies)
    if allowed is not None and takes > allowed:
        yield f"takes {takes:.3f} ms a token where target.latency allows {allowed} ms."


def _fits(record: MachineRecord, structure: ModelStructure) -> bool:
    """Return whether the layers that were timed are those of the structure."""
    timed = {kind: record.full.kept(kind) for kind in GROUP_TYPES}
    return (
        record.model.structure == structure.fingerprint
        and record.layers == len(structure.layers)
        and all(sublayer.groups == timed[kind] for _, kind, sublayer in structure.sublayers())
    )


def _digest(record: MachineRecord) -> str:
    """Return the digest of the times and of what they depend on."""
    return digest_json(record.model_dump(mode="json", include={"model", "layers", "points"}))
