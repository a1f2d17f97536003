"""The rules that the rows of a group table keep, among themselves and against a structure."""

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure
from globalprune.artifacts.table_columns import Columns
from globalprune.errors import TableInvalid

_TOLERANCE = 1e-9  # relative; a score may have been divided by another program
_SHOWN = 5


def refuse_bad_rows(where: str, columns: Columns, remedy: str = "Run gp analyze again.") -> None:
    """Raise `TableInvalid` with every rule that some row breaks, and the first such row."""
    order = np.lexsort((columns["group_idx"], columns["group_type"], columns["layer_idx"]))
    with np.errstate(all="ignore"):
        expected = columns["importance"] / columns["cost"]
        wrong_score = ~np.isclose(columns["score"], expected, rtol=_TOLERANCE, atol=0)
    finite = np.isfinite(columns["importance"])
    paid = columns["cost"] > 0
    rules = {
        "importance is not finite": ~finite,
        "cost is not a positive number of parameters": ~paid,
        "layer_idx or group_idx is negative": (columns["layer_idx"] < 0)
        | (columns["group_idx"] < 0),
        "the group stands in the table twice": _repeated(columns, order),
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
    keys = columns["layer_idx"].astype(np.int64) * len(GROUP_TYPES) + columns["group_type"]
    for layer, group_type, half in structure.halves():
        if layer not in measured:
            continue
        rows = keys == layer * len(GROUP_TYPES) + GROUP_TYPES.index(group_type)
        indices, costs = columns["group_idx"][rows], columns["cost"][rows]
        if not np.array_equal(np.sort(indices), np.arange(half.groups)):
            problems.append(
                f"layer {layer} {group_type}: {len(indices)} rows, not one for each of its "
                f"{half.groups} groups"
            )
        elif (costs != half.cost).any():
            problems.append(f"layer {layer} {group_type}: a cost that is not {half.cost:,}")
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + ("; …" if len(problems) > _SHOWN else "")
        raise TableInvalid(
            f"{where}: does not belong to the structure in analysis.json: {shown}. "
            "Put the two files of one analysis together, or run gp analyze again."
        )


def _repeated(columns: Columns, order: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark rows whose group another row names already."""
    same = np.ones(max(len(order) - 1, 0), bool)
    for name in ("layer_idx", "group_type", "group_idx"):
        column = columns[name][order]
        same &= column[1:] == column[:-1]
    repeated = np.zeros(len(order), bool)
    repeated[order[1:]] = same
    return repeated


def _name(columns: Columns, row: int) -> str:
    """A row as a person would name it."""
    kind = GROUP_TYPES[int(columns["group_type"][row])]
    return f"layer {columns['layer_idx'][row]} {kind} {columns['group_idx'][row]}"
