"""The rules that the rows of a group table keep, among themselves and against a structure."""

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.table_columns import (
    Columns,
    half_of_rows,
    order_by_half,
    rows_by_half,
)
from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure
from globalprune.errors import TableInvalid

_TOLERANCE = 1e-9  # relative; a score may have been divided by another program
_SHOWN = 5
_MOST_LAYERS = 2**20  # no model has so many; counting by layer takes memory for each


def refuse_bad_rows(where: str, columns: Columns, remedy: str = "Run gp analyze again.") -> None:
    """Raise `TableInvalid` with every rule that some row breaks, and the first such row."""
    with np.errstate(all="ignore"):
        expected = columns["importance"] / columns["cost"]
        off = np.abs(columns["score"] - expected)
        wrong_score = ~(off <= _TOLERANCE * np.abs(expected))
    finite = np.isfinite(columns["importance"])
    paid = columns["cost"] > 0
    negative = (columns["layer_idx"] < 0) | (columns["group_idx"] < 0)
    beyond = columns["layer_idx"] >= _MOST_LAYERS
    rules = {
        "importance is not finite": ~finite,
        "cost is not a positive number of parameters": ~paid,
        "layer_idx or group_idx is negative": negative,
        f"layer_idx is {_MOST_LAYERS:,} or more": beyond,
        "the group stands in the table twice": _repeated(columns, ~(negative | beyond)),
        "score is not importance / cost": wrong_score & finite & paid,
    }
    problems = [
        f"{rule} in {int(broken.sum())} rows, such as {_name(columns, int(np.argmax(broken)))}"
        for rule, broken in rules.items()
        if broken.any()
    ]
    if problems:
        raise TableInvalid(f"{where}: {'; '.join(problems)}. {remedy}")


def refuse_misfit(where: str, columns: Columns, structure: ModelStructure) -> None:
    """Raise `TableInvalid` unless each layer in the table has the structure's groups and costs."""
    measured = set(np.unique(columns["layer_idx"]).tolist())
    problems = [
        f"layer {layer} is not in the model, which has {len(structure.layers)} layers"
        for layer in sorted(measured)
        if layer >= len(structure.layers)
    ]
    halves = rows_by_half(columns)
    nothing = np.zeros(0, np.intp)
    for layer, group_type, half in structure.halves():
        if layer not in measured:
            continue
        rows = halves.get((layer, group_type), nothing)
        indices, costs = columns["group_idx"][rows], columns["cost"][rows]
        if not np.array_equal(np.sort(indices), np.arange(half.candidates)):
            problems.append(
                f"layer {layer} {group_type}: {len(indices)} rows, not one for each of its "
                f"{half.candidates} groups"
            )
        elif (costs != half.cost).any():
            problems.append(f"layer {layer} {group_type}: a cost that is not {half.cost:,}")
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + ("; …" if len(problems) > _SHOWN else "")
        raise TableInvalid(
            f"{where}: does not belong to the structure in analysis.json: {shown}. "
            "Put the two files of one analysis together, or run gp analyze again."
        )


def _repeated(columns: Columns, named: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark rows whose group another row names already, of those that name one."""
    rows = np.flatnonzero(named)
    if not len(rows):
        return np.zeros(len(named), bool)
    some = columns if named.all() else {name: column[rows] for name, column in columns.items()}
    order = order_by_half(some)
    half, index = half_of_rows(some)[order], some["group_idx"][order]
    same = (half[1:] == half[:-1]) & (index[1:] == index[:-1])
    repeated = np.zeros(len(named), bool)
    repeated[rows[order[1:]]] = same
    return repeated


def _name(columns: Columns, row: int) -> str:
    """A row as a person would name it."""
    kind = GROUP_TYPES[int(columns["group_type"][row])]
    return f"layer {columns['layer_idx'][row]} {kind} {columns['group_idx'][row]}"
