"""The machine whose latencies a plan counts on: read for a new plan, and found again for an old."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from globalprune.artifacts.disk import way_from
from globalprune.artifacts.evaluations.latency import Latencies, MachineRecord, read_machine_record
from globalprune.artifacts.plans.plan import Budgets, MachineReference, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.records import digest_json
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import ArtifactError, UsageError

_MILLION: Final = 1e6  # nanoseconds a millisecond


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
        way = way_from(plan.parent, self.path)
        return MachineReference(path=way, record=_digest(self.record))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was doubtful when it was measured."""
        return tuple(f"{self.path}: {warning}" for warning in self.record.warnings)


def machine_asked(path: Path | None, budgets: Budgets, structure: ModelStructure) -> Machine | None:
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


def cited_machine(plan: PrunePlan, path: Path) -> Path | None:
    """Where the machine lies that a plan at `path` names."""
    cited = plan.target.machine if plan.target else None
    return None if cited is None else path.resolve().parent / cited.path


def find_machine(
    plan: PrunePlan, path: Path, structure: ModelStructure
) -> tuple[Machine | None, str | None]:
    """The machine that a plan at `path` names, if it is still that one; else what is to be said."""
    cited, file = plan.target.machine if plan.target else None, cited_machine(plan, path)
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


def broken_latency(plan: PrunePlan, effect: PlanEffect, latencies: Latencies) -> Iterator[str]:
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
        and all(half.groups == timed[kind] for _, kind, half in structure.halves())
    )


def _digest(record: MachineRecord) -> str:
    """What the times depend on, and they themselves."""
    return digest_json(record.model_dump(mode="json", include={"model", "layers", "points"}))
