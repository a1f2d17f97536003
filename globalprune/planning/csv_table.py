"""The whole table as CSV, with a column that says what a plan removes, for spreadsheets and awk."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.group_table import COST_PREFIX, GroupTable
from globalprune.artifacts.analyses.table_columns import IMPORTANCE_PREFIX
from globalprune.artifacts.disk import refuse_impossible, temporary_file
from globalprune.artifacts.plans.budgets import further_costs
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import removed_by
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import UsageError

_SUFFIX = ".csv"
_FIRST_COLUMNS = b'"layer_idx","group_type","group_idx"'


def refuse_csv_place(path: Path) -> None:
    """Raise `UsageError` unless `path` is free, or holds such a table that may be replaced."""
    refuse_impossible(path)
    if path.suffix != _SUFFIX:
        raise UsageError(f"--csv {path}: is not called {_SUFFIX}; name a {_SUFFIX} file.")
    if not path.exists():
        return
    with path.open("rb") as file:
        if file.read(len(_FIRST_COLUMNS)) != _FIRST_COLUMNS:
            raise UsageError(f"--csv {path}: is there and is no such table; choose another name.")


def write_csv(
    path: Path, table: GroupTable, structure: ModelStructure, plans: Mapping[str, PrunePlan]
) -> None:
    """Write every row, lowest score first; `plans` names the column of each plan."""
    import pyarrow as pa
    from pyarrow import csv

    kinds = np.asarray(GROUP_TYPES)[table.group_type]
    others = {IMPORTANCE_PREFIX + name: column for name, column in table.importances.items()}
    costs = further_costs(structure, table.layer_idx, table.group_type)
    further = {COST_PREFIX + name: column for name, column in costs.items()}
    removed = {name: _removed(table, structure, plan) for name, plan in plans.items()}
    columns = {**table.columns(), "group_type": kinds, **others, **further, **removed}
    with temporary_file(path) as temporary:
        csv.write_csv(pa.table(columns), temporary)


def _removed(table: GroupTable, structure: ModelStructure, plan: PrunePlan) -> NDArray[np.bool_]:
    """Mark the rows that the plan removes."""
    marked = np.zeros(len(table), bool)
    for layer, kind, indices in removed_by(plan, structure):
        marked[table.halves[layer, kind][indices]] = True
    return marked
