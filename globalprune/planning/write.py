"""Plans on disk, one for each ratio and all or none of them; and the table with them as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.disk import refuse_unwritable_file, temporary_file
from globalprune.artifacts.plans.budgets import further_costs
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import removed_by
from globalprune.artifacts.plans.plan_file import (
    PLAN_FILE,
    ExistingPlan,
    PlanDraft,
    existing_plan,
    read_plan,
    replace_plans,
)
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import UsageError
from globalprune.options import PlanOptions
from globalprune.planning.eligibility import Pins
from globalprune.planning.latency_budget import machine_for
from globalprune.planning.options import (
    plan_paths,
    targets_for,
    with_stored_dtype,
)
from globalprune.planning.planner import PlanResult, make_plan
from globalprune.planning.review import inherited_pins, replan
from globalprune.planning.summary import header_lines

_SUFFIX: Final = ".csv"
_FIRST_COLUMNS: Final = b'"layer_idx","group_type","group_idx"'


def write_plans(
    analysis: Analysis, options: PlanOptions, out: Path | None = None
) -> tuple[PlanResult, ...]:
    """Make a plan for every ratio and write them all; raise before the first if one is refused.

    A plan that doesn't meet its target is written only with `options.largest`. Pins come from
    `options.replanned`, or the plan that is replaced, or the analysis's own plan.yaml. `out` is a
    .yaml file or a folder; None writes beside the analysis. Raise `UsageError` where there is no
    budget, and where a plan that was edited by hand is in the way.
    """
    pins: Pins | None = None
    if options.replanned is not None:
        options, pins = replan(options, analysis, options.replanned)
    record = analysis.record
    options = replace(options, budgets=with_stored_dtype(options.budgets, record.model.storage))
    paths = plan_paths(analysis.folder, options.ratios, out)
    machine = machine_for(options.machine, options.budgets, record.structure)
    reference = machine.reference(next(iter(paths.values()))) if machine else None
    targets = targets_for(options, list(paths), reference)
    existing = {path: existing_plan(path, overwrite=options.overwrite) for path in paths.values()}
    own = analysis.folder / PLAN_FILE
    if pins is None and own not in existing and own.is_file():
        existing[own] = ExistingPlan(read_plan(own), edited=False)
    results = []
    for ratio, path in paths.items():
        bound = inherited_pins(analysis, path, existing) if pins is None else pins
        result = make_plan(
            analysis,
            targets[ratio],
            importance=options.importance,
            normaliser=options.normaliser,
            pins=bound,
            latencies=machine.latencies if machine else None,
            path=path,
        )
        warnings = (*bound.notes, *(machine.warnings if machine else ()), *result.warnings)
        written = result.is_met or options.largest
        results.append(replace(result, warnings=warnings, written=written))
    _replace(results)
    return tuple(results)


def refuse_csv_place(path: Path) -> None:
    """Raise `UsageError` unless `path` is free, or holds such a table that may be replaced."""
    refuse_unwritable_file(path)
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
    costs = further_costs(structure, table.layer_idx, table.group_type)
    removed = {name: _removed_rows(table, structure, plan) for name, plan in plans.items()}
    columns = {**table.named_columns(costs), "group_type": kinds, **removed}
    with temporary_file(path) as temporary:
        csv.write_csv(pa.table(columns), temporary)


def _replace(results: Sequence[PlanResult]) -> None:
    """Write the plans that are to be written, together."""
    replace_plans(
        [
            PlanDraft(result.path, result.plan, header_lines(result.plan, result.figures))
            for result in results
            if result.written
        ]
    )


def _removed_rows(
    table: GroupTable, structure: ModelStructure, plan: PrunePlan
) -> NDArray[np.bool_]:
    """Return the rows that the plan removes."""
    removed = np.zeros(len(table), bool)
    for layer, kind, indices in removed_by(plan, structure):
        removed[table.sublayers[layer, kind][indices]] = True
    return removed
