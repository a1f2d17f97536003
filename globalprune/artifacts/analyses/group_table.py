"""groups.parquet: one row a group, with what it is worth and what cutting it saves.

A table is numpy columns, always sorted by score, then layer, kind and index. The digest is over
the six first columns only, so more columns, other file bytes and metadata don't change it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from globalprune.artifacts.analyses.normalisers import NormaliserName, normalised
from globalprune.artifacts.analyses.table_columns import (
    EXPERT_COLUMN,
    IMPORTANCE_PREFIX,
    Columns,
    expert_of_rows,
    order_by_sublayer,
    read_columns,
    refuse_bad_rows,
    refuse_misfit,
    rows_by_sublayer,
)
from globalprune.artifacts.disk import temporary_file
from globalprune.artifacts.plans.budgets import further_costs
from globalprune.artifacts.records import digest_bytes
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import TableInvalid

TABLE_FORMAT = "globalprune.groups/1"
TABLE_FILE = "groups.parquet"
COST_PREFIX = "cost_"  # of what groups save beside parameters
FORMAT_KEY = "globalprune.format"
NORMALISER_KEY = "globalprune.normaliser"
IMPORTANCE_KEY = "globalprune.importance"  # the method that `importance` and `score` are of
ANALYSIS_KEY = "globalprune.analysis"  # AnalysisRecord.identity

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupTable:
    """Groups from the least to the most worth keeping; make one with `build`."""

    layer_idx: Ints  # int32
    group_type: Ints  # uint8, the position in GROUP_TYPES
    group_idx: Ints  # int32
    importance: Floats  # by the normaliser that the metadata names
    cost: Ints  # int64, parameters
    score: Floats  # importance / cost
    importances: dict[str, Floats]  # every method, raw, in the order of the rows
    metadata: dict[str, str]

    @classmethod
    def build(
        cls,
        layer_idx: ArrayLike,
        group_type: ArrayLike,
        group_idx: ArrayLike,
        cost: ArrayLike,
        importances: Mapping[str, ArrayLike],
        metadata: Mapping[str, str],
        normaliser: NormaliserName = "none",
    ) -> "GroupTable":
        """Make a table of rows in any order, scored by the first of `importances`."""
        raw = {name: np.asarray(values, np.float64) for name, values in importances.items()}
        scored = next(iter(raw))
        columns: Columns = {
            "layer_idx": np.asarray(layer_idx, np.int32),
            "group_type": np.asarray(group_type, np.uint8),
            "group_idx": np.asarray(group_idx, np.int32),
            "importance": raw[scored],
            "cost": np.asarray(cost, np.int64),
        }
        columns = _scored(columns, normaliser, "table")
        return _in_order(columns, raw, {**metadata, **_said_of(scored, normaliser)})

    def __len__(self) -> int:
        return len(self.score)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The six first columns by name."""
        names = ("layer_idx", "group_type", "group_idx", "importance", "cost", "score")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of the six first columns ordered by layer, kind and index."""
        order = order_by_sublayer(self.columns())
        little_endian = (
            column[order].astype(column.dtype.newbyteorder("<")).tobytes()
            for column in self.columns().values()
        )
        return digest_bytes(*little_endian)

    @cached_property
    def sublayers(self) -> dict[tuple[int, GroupType], NDArray[np.intp]]:
        """The rows of every measured sublayer in order of group_idx: position i is group i."""
        return rows_by_sublayer(self.columns())

    def rescored(self, name: str, normaliser: NormaliserName = "none") -> "GroupTable":
        """The same groups, scored by another importance column, or by another normaliser."""
        if name not in self.importances:
            there = ", ".join(self.importances) or "none"
            raise TableInvalid(
                f"importance {name!r}: the table has no column {IMPORTANCE_PREFIX}{name} of "
                f"numbers; it has {there}. Measure it with gp analyze, or write the column."
            )
        columns = self.columns() | {"importance": self.importances[name]}
        columns = _scored(
            columns, normaliser, f"column {IMPORTANCE_PREFIX}{name}", "Mend the column."
        )
        said = _said_of(name, normaliser)
        return _in_order(columns, self.importances, {**self.metadata, **said})


def read_group_table(path: Path, structure: ModelStructure | None = None) -> GroupTable:
    """Read and check a table, rows in any order; `structure` checks counts and costs as well."""
    columns, importances, metadata = read_columns(path)
    found = metadata.get(FORMAT_KEY, TABLE_FORMAT)
    if found != TABLE_FORMAT:
        raise TableInvalid(
            f"{path}: is of format {found}, this globalprune reads {TABLE_FORMAT}; "
            "install the globalprune that wrote it, or run gp analyze again."
        )
    refuse_bad_rows(str(path), columns)
    if structure is not None:
        refuse_misfit(str(path), columns, structure)
    return _in_order(columns, importances, metadata)


def write_group_table(
    path: Path, table: GroupTable, structure: ModelStructure | None = None
) -> None:
    """Write the table whole or not at all; any Parquet reader can open it.

    With the `structure`, also what each group saves of other budgets, for people who read it.
    """
    import pyarrow as pa
    from pyarrow import parquet

    kinds = pa.DictionaryArray.from_arrays(table.group_type.astype(np.int8), list(GROUP_TYPES))
    others = {IMPORTANCE_PREFIX + name: column for name, column in table.importances.items()}
    if structure is not None:
        costs = further_costs(structure, table.layer_idx, table.group_type)
        others |= {COST_PREFIX + name: column for name, column in costs.items()}
        if structure.has_experts:
            rows = (table.layer_idx, table.group_type, table.group_idx)
            expert, absent = expert_of_rows(structure, *rows)
            others[EXPERT_COLUMN] = pa.array(expert, mask=absent)
    arrow = pa.table({**table.columns(), "group_type": kinds, **others})
    with temporary_file(path) as temporary:
        parquet.write_table(arrow.replace_schema_metadata(table.metadata), temporary)


def _in_order(columns: Columns, importances: Columns, metadata: dict[str, str]) -> GroupTable:
    """The table of these rows, sorted by score; ties fall by layer, kind and index."""
    if _is_ordered(columns):
        return GroupTable(**columns, importances=importances, metadata=metadata)
    ties = (columns["group_idx"], columns["group_type"], columns["layer_idx"])
    order = np.lexsort((*ties, columns["score"]))
    ordered = {name: column[order] for name, column in columns.items()}
    others = {name: column[order] for name, column in importances.items()}
    return GroupTable(**ordered, importances=others, metadata=metadata)


def _is_ordered(columns: Columns) -> bool:
    """Whether the rows stand as they should; a table that was written does."""
    ordered = np.ones(max(len(columns["score"]) - 1, 0), bool)
    for name in ("group_idx", "group_type", "layer_idx", "score"):
        earlier, later = columns[name][:-1], columns[name][1:]
        ordered = (earlier < later) | ((earlier == later) & ordered)
    return bool(ordered.all())


def _scored(columns: Columns, normaliser: NormaliserName, where: str, *remedy: str) -> Columns:
    """The columns with a score; their `importance` is raw, and refused as such if it is bad."""
    importance, cost = columns["importance"], columns["cost"]
    with np.errstate(all="ignore"):  # a cost of 0 is refused here, by its row
        refuse_bad_rows(where, columns | {"score": importance / cost}, *remedy)
    worth = normalised(normaliser, importance, cost, rows_by_sublayer(columns).values())
    return columns | {"importance": worth, "score": worth / cost}


def _said_of(scored: str, normaliser: str) -> dict[str, str]:
    """The metadata of a table that is scored by an importance, through a normaliser."""
    return {FORMAT_KEY: TABLE_FORMAT, NORMALISER_KEY: normaliser, IMPORTANCE_KEY: scored}
