"""The reliability of every importance, from the statistics of both halves of the windows."""

from collections.abc import Mapping, Sequence

import numpy as np

from globalprune.analyze.table import build_table
from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.analyses.reliability import Reliability, reliability_of
from globalprune.artifacts.structure import ModelStructure
from globalprune.importance import Importance
from globalprune.statistics.interface import GroupSums, Statistic

Statistics = Mapping[Statistic, GroupSums]


def reliabilities(
    structure: ModelStructure,
    layers: range,
    methods: Sequence[Importance],
    halves: tuple[Statistics, Statistics] | None,
    normalisers: Mapping[str, NormaliserName],
) -> dict[str, Reliability]:
    """By method, each through its normaliser; none where the text is a single window."""
    if halves is None:
        return {}
    found = {}
    for method in methods:
        normaliser = normalisers.get(method.name, "none")
        tables = [build_table(structure, layers, [method], half, normaliser) for half in halves]
        rows = [np.concatenate(list(table.halves.values())) for table in tables]  # in one order
        first, second = (table.score[order] for table, order in zip(tables, rows, strict=True))
        costs = tables[0].cost[rows[0]]
        found[method.name] = reliability_of(first, second, costs, structure.parameters)
    return found
