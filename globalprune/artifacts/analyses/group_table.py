"""The groups of a model with their importance, cost and score, as numpy columns.

A table is sorted by score, then layer, kind and index. The digest covers the first six columns
only, so further columns, the bytes of the file and the metadata don't change it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from globalprune.artifacts.analyses.normalisers import NormaliserName, normalised
from globalprune.artifacts.records import digest_bytes
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import TableInvalid

TABLE_FORMAT: Final = "globalprune.groups/1"
IMPORTANCE_PREFIX: Final = "importance_"
COST_PREFIX: Final = "cost_"  # of what groups save beside parameters
FORMAT_KEY: Final = "globalprune.format"
NORMALISER_KEY: Final = "globalprune.normaliser"
IMPORTANCE_KEY: Final = "globalprune.importance"  # the method that `importance` and `score` are of
ANALYSIS_KEY: Final = "globalprune.analysis"  # AnalysisRecord.identity
_FIRST_COLUMNS: Final = ("layer_idx", "group_type", "group_idx", "importance", "cost", "score")
_TOLERANCE: Final = 1e-9  # relative; another program may have divided
_SHOWN: Final = 5  # problems in one message
_MOST_LAYERS: Final = 2**20  # no model has so many; counting by layer takes memory for each

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class GroupTable:
    """Groups, those with the least score first; make one with `build`."""

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
        """Build a table of rows in any order, scored by the first of `importances`.

        Raises:
            TableInvalid: a row breaks a rule, such as an importance that is not finite.
        """
        raw = {name: np.asarray(values, np.float64) for name, values in importances.items()}
        scored_by = next(iter(raw))
        columns: Columns = {
            "layer_idx": np.asarray(layer_idx, np.int32),
            "group_type": np.asarray(group_type, np.uint8),
            "group_idx": np.asarray(group_idx, np.int32),
            "importance": raw[scored_by],
            "cost": np.asarray(cost, np.int64),
        }
        columns = _scored(columns, normaliser, "table")
        return cls.from_columns(
            columns, raw, {**metadata, **_scoring_metadata(scored_by, normaliser)}
        )

    @classmethod
    def from_columns(
        cls, columns: Columns, importances: Columns, metadata: dict[str, str]
    ) -> "GroupTable":
        """Return the table of these checked rows, sorted by score, layer, kind and index."""
        if _is_sorted(columns):
            return cls(**columns, importances=importances, metadata=metadata)
        ties = (columns["group_idx"], columns["group_type"], columns["layer_idx"])
        order = np.lexsort((*ties, columns["score"]))
        first = {name: column[order] for name, column in columns.items()}
        others = {name: column[order] for name, column in importances.items()}
        return cls(**first, importances=others, metadata=metadata)

    def __len__(self) -> int:
        return len(self.score)

    def columns(self) -> Columns:
        """Return the first six columns by name."""
        return {name: getattr(self, name) for name in _FIRST_COLUMNS}

    def named_columns(self, further_costs: Mapping[str, Ints] | None = None) -> Columns:
        """Return all columns as files name them; `further_costs` holds a column of each budget."""
        importances = {
            IMPORTANCE_PREFIX + name: column for name, column in self.importances.items()
        }
        costs = {COST_PREFIX + name: column for name, column in (further_costs or {}).items()}
        return {**self.columns(), **importances, **costs}

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of the first six columns, ordered by layer, kind and index."""
        order = order_by_sublayer(self.columns())
        little_endian = (
            column[order].astype(column.dtype.newbyteorder("<")).tobytes()
            for column in self.columns().values()
        )
        return digest_bytes(*little_endian)

    @cached_property
    def sublayers(self) -> dict[tuple[int, GroupType], NDArray[np.intp]]:
        """The rows of every measured sublayer, ordered by group_idx: position i is group i."""
        return rows_by_sublayer(self.columns())

    def rescored(self, name: str, normaliser: NormaliserName = "none") -> "GroupTable":
        """Return the same groups, scored by another importance column or another normaliser.

        Raises:
            TableInvalid: there is no such column, or it holds a number that is not finite.
        """
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
        metadata = {**self.metadata, **_scoring_metadata(name, normaliser)}
        return GroupTable.from_columns(columns, self.importances, metadata)


def rows_by_sublayer(columns: Columns) -> dict[tuple[int, GroupType], NDArray[np.intp]]:
    """Return the rows of every sublayer, ordered by group_idx."""
    sublayer = _sublayer_of_rows(columns)
    sizes = np.bincount(sublayer)
    rows = np.split(order_by_sublayer(columns), np.cumsum(sizes)[:-1])
    return {
        (key // len(GROUP_TYPES), GROUP_TYPES[key % len(GROUP_TYPES)]): rows[key]
        for key in np.flatnonzero(sizes).tolist()
    }


def order_by_sublayer(columns: Columns) -> NDArray[np.intp]:
    """Return the rows ordered by layer, kind and index; layers and indices are 0 or more.

    Where every sublayer has each index once, a row's place is known without sorting.
    """
    sublayer, index = _sublayer_of_rows(columns), columns["group_idx"]
    sizes = np.bincount(sublayer)
    if (index < sizes[sublayer]).all():
        place = (np.cumsum(sizes) - sizes)[sublayer] + index
        order = np.full(len(place), -1, np.intp)
        order[place] = np.arange(len(place))
        if (order >= 0).all():
            return order
    return np.lexsort((index, sublayer))


def refuse_bad_rows(where: str, columns: Columns, remedy: str = "Run gp analyze again.") -> None:
    """Raise `TableInvalid` with every rule that some row breaks, and the first such row."""
    with np.errstate(all="ignore"):
        expected = columns["importance"] / columns["cost"]
        error = np.abs(columns["score"] - expected)
        wrong_score = ~(error <= _TOLERANCE * np.abs(expected))
    finite = np.isfinite(columns["importance"])
    has_cost = columns["cost"] > 0
    negative = (columns["layer_idx"] < 0) | (columns["group_idx"] < 0)
    beyond = columns["layer_idx"] >= _MOST_LAYERS
    rules = {
        "importance is not finite": ~finite,
        "cost is not a positive number of parameters": ~has_cost,
        "layer_idx or group_idx is negative": negative,
        f"layer_idx is {_MOST_LAYERS:,} or more": beyond,
        "the group stands in the table twice": _repeated(columns, ~(negative | beyond)),
        "score is not importance / cost": wrong_score & finite & has_cost,
    }
    problems = [
        f"{rule} in {int(broken.sum())} rows, such as {_row_name(columns, int(np.argmax(broken)))}"
        for rule, broken in rules.items()
        if broken.any()
    ]
    if problems:
        raise TableInvalid(f"{where}: {'; '.join(problems)}. {remedy}")


def refuse_other_structure(where: str, columns: Columns, structure: ModelStructure) -> None:
    """Raise `TableInvalid` unless each layer in the table has the structure's groups and costs."""
    measured = set(np.unique(columns["layer_idx"]).tolist())
    problems = [
        f"layer {layer} is not in the model, which has {len(structure.layers)} layers"
        for layer in sorted(measured)
        if layer >= len(structure.layers)
    ]
    sublayers = rows_by_sublayer(columns)
    no_rows = np.zeros(0, np.intp)
    for layer, group_type, sublayer in structure.sublayers():
        if layer not in measured:
            continue
        rows = sublayers.get((layer, group_type), no_rows)
        indices, costs = columns["group_idx"][rows], columns["cost"][rows]
        if not np.array_equal(np.sort(indices), np.arange(sublayer.candidates)):
            problems.append(
                f"layer {layer} {group_type}: {len(indices)} rows, not one for each of its "
                f"{sublayer.candidates} groups"
            )
        elif (costs != sublayer.cost).any():
            problems.append(f"layer {layer} {group_type}: a cost that is not {sublayer.cost:,}")
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + ("; …" if len(problems) > _SHOWN else "")
        raise TableInvalid(
            f"{where}: does not belong to the structure in analysis.json: {shown}. "
            "Put the two files of one analysis together, or run gp analyze again."
        )


def _sublayer_of_rows(columns: Columns) -> NDArray[np.int64]:
    """Return a number for each row's layer and kind, ascending by both."""
    sublayers: NDArray[np.int64] = columns["layer_idx"].astype(np.int64) * len(GROUP_TYPES)
    return sublayers + columns["group_type"]


def _is_sorted(columns: Columns) -> bool:
    """Return whether the rows are in a table's order; those of a written table are."""
    ordered = np.ones(max(len(columns["score"]) - 1, 0), bool)
    for name in ("group_idx", "group_type", "layer_idx", "score"):
        earlier, later = columns[name][:-1], columns[name][1:]
        ordered = (earlier < later) | ((earlier == later) & ordered)
    return bool(ordered.all())


def _scored(columns: Columns, normaliser: NormaliserName, where: str, *remedy: str) -> Columns:
    """Return the columns with a score, after the raw `importance` is checked row by row."""
    importance, cost = columns["importance"], columns["cost"]
    with np.errstate(all="ignore"):  # a cost of 0 is refused here, by its row
        refuse_bad_rows(where, columns | {"score": importance / cost}, *remedy)
    scaled = normalised(normaliser, importance, cost, rows_by_sublayer(columns).values())
    return columns | {"importance": scaled, "score": scaled / cost}


def _scoring_metadata(importance: str, normaliser: str) -> dict[str, str]:
    """Return the metadata of a table that is scored by this importance and normaliser."""
    return {FORMAT_KEY: TABLE_FORMAT, NORMALISER_KEY: normaliser, IMPORTANCE_KEY: importance}


def _repeated(columns: Columns, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the `valid` rows whose group an earlier row names already."""
    rows = np.flatnonzero(valid)
    if not len(rows):
        return np.zeros(len(valid), bool)
    some = columns if valid.all() else {name: column[rows] for name, column in columns.items()}
    order = order_by_sublayer(some)
    sublayer, index = _sublayer_of_rows(some)[order], some["group_idx"][order]
    same = (sublayer[1:] == sublayer[:-1]) & (index[1:] == index[:-1])
    repeated = np.zeros(len(valid), bool)
    repeated[rows[order[1:]]] = same
    return repeated


def _row_name(columns: Columns, row: int) -> str:
    """Return `layer 3 mlp 17`."""
    kind = GROUP_TYPES[int(columns["group_type"][row])]
    return f"layer {columns['layer_idx'][row]} {kind} {columns['group_idx'][row]}"
