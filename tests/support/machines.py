"""Machines whose latencies are invented: records of times for a structure of equal layers."""

from collections.abc import Callable
from pathlib import Path

from globalprune.artifacts.evaluations.evaluation import Hardware
from globalprune.artifacts.evaluations.latency_table import MachineRecord, TimedPoint
from globalprune.artifacts.plans.plan import ModelReference
from globalprune.artifacts.records import write_record
from globalprune.artifacts.structure import ModelStructure

Seconds = Callable[[int, int], float]  # of a token, by what every layer keeps


def steady(attention: int, channels: int) -> float:
    """A millisecond for each attention group of a layer, a tenth for each channel, ten beside."""
    return 1e-3 * (10 + attention + 0.1 * channels)


def machine_record(structure: ModelStructure, seconds: Seconds = steady) -> MachineRecord:
    """Times of all counts of each kind, one round."""
    layer = structure.layers[0]
    groups, channels = layer.attention.groups, layer.mlp.groups
    kept = [(groups, channels)]
    kept += [(count, channels) for count in range(groups)]
    kept += [(groups, count) for count in range(channels)]
    return MachineRecord(
        model=ModelReference(source="test/model", structure=structure.fingerprint),
        layers=len(structure.layers),
        device="cpu",
        hardware=Hardware(cpu="test", threads=1),
        dtype="float32",
        batch_size=1,
        context=1,
        tokens=1,
        points=tuple(
            TimedPoint(attention=one, mlp=other, seconds_per_token=(seconds(one, other),))
            for one, other in kept
        ),
        versions={"python": "3.11"},
        seconds=1.0,
        command=("gp", "measure", "test/model"),
    )


def saved_machine(path: Path, structure: ModelStructure, seconds: Seconds = steady) -> Path:
    """The same on disk."""
    write_record(path, machine_record(structure, seconds))
    return path
