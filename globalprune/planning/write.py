"""Plans on disk: pins and edits carried over from the plan before, and the CSV of a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import Analysis, doubt_of
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.disk import refuse_unwritable_file, relative_path, temporary_file
from globalprune.artifacts.plans.budgets import further_costs
from globalprune.artifacts.plans.plan import (
    Budgets,
    Constraints,
    LayerPins,
    PrunePlan,
    SublayerPins,
    Target,
    budgets_of,
)
from globalprune.artifacts.plans.plan_effect import removed_by
from globalprune.artifacts.plans.plan_file import (
    PLAN_FILE,
    Draft,
    ExistingPlan,
    existing_plan,
    read_plan,
    replace_plans,
)
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import UsageError
from globalprune.planning.diff import SublayerDifference, differences
from globalprune.planning.eligibility import Pins
from globalprune.planning.latency import Machine, machine_for, machine_path
from globalprune.planning.options import (
    merge_constraints,
    plan_paths,
    targets_for,
    with_stored_dtype,
)
from globalprune.planning.planner import PlanResult, make_plan
from globalprune.planning.review import review_plan
from globalprune.planning.summary import Optimality, header_lines, importance_of, optimality_of

Standing = Mapping[Path, ExistingPlan | None]  # what is there, by place


def inherited_pins(
    analysis: Analysis, path: Path, standing: Standing
) -> tuple[Pins, Path, tuple[str, ...]]:
    """Find the pins that bind a plan at `path`: its own, else those of the analysis's plan.yaml.

    Pins of another structure bind nothing here. Raise `PlanInvalid` where they name what there
    isn't.
    """
    notes: list[str] = []
    replaced = standing.get(path)
    if replaced is not None and replaced.edited:
        notes.append(f"{path}: was edited by hand; its edits and comments were replaced.")
    structure = analysis.record.structure
    for source in dict.fromkeys((path, analysis.folder / PLAN_FILE)):
        found = standing.get(source)
        if found is None or not found.plan.pin:
            continue
        model = found.plan.model
        if model is not None and model.structure != structure.fingerprint:
            notes.append(f"the pins of {source} are for another structure ({model.source}).")
            continue
        pins = read_plan(source, structure).pin
        notes.append(f"honours the pins of {source} (layers {', '.join(map(str, pins))}).")
        return pins, source, tuple(notes)
    return {}, path, tuple(notes)


def pins_from_edits(analysis: Analysis, path: Path) -> tuple[PrunePlan, Pins]:
    """The plan at `path`, and its pins together with what a person changed in it, as pins.

    A group that was taken out of the plan is one to keep, one that was added is one to remove; of a
    plan that gp didn't write all that goes is meant. Raise `UsageError` where the edits can't be
    told.
    """
    review = review_plan(path, analysis.folder)
    plan, edits = review.plan, review.known.edits if review.known else None
    if plan.generated is None:
        nothing = PrunePlan(layers={})
        edits = differences(nothing, plan, analysis.record.structure)
    if edits is None:
        raise UsageError(
            f"{path}: was edited, and what gp plan wrote can't be made again from "
            f"its target and {analysis.folder}, so that its edits can't be told from the rest; "
            "put the target back if you changed it, name the analysis that it was made from, or "
            "write the edits as pins."
        )
    pins = dict(plan.pin)
    for edit in edits:
        groups = analysis.record.structure.layers[edit.layer_idx].sublayer(edit.group_type).groups
        pins[edit.layer_idx] = _with_edit(pins.get(edit.layer_idx, LayerPins()), edit, groups)
    return plan, dict(sorted(pins.items()))


def _with_edit(pins: LayerPins, edit: SublayerDifference, groups: int) -> LayerPins:
    """The pins of a layer with an edit of one sublayer, which is newer than they are."""
    old = pins.of(edit.group_type)
    stays, goes, keep, remove = (
        indices.resolved(groups)
        for indices in (edit.only_first, edit.only_second, old.keep, old.remove)
    )
    sublayer = SublayerPins(
        keep=(keep - goes) | stays, remove=(remove - stays) | goes, width=old.width
    )
    sublayers = {kind: pins.of(kind) for kind in GROUP_TYPES} | {edit.group_type: sublayer}
    return LayerPins(**sublayers)


Wanted = tuple[Pins, Path, tuple[str, ...]]  # pins, where they stand, and what to say of them


@dataclass(frozen=True)
class WrittenPlan:
    """A plan, and the file that it is in; `written` says whether it is, or only could be."""

    path: Path
    planned: PlanResult
    optimality: Optimality | None  # None: layers go that were not measured
    written: bool = True


def write_plans(
    analysis: Analysis,
    ratios: Sequence[float],
    out: Path | None = None,
    *,
    budgets: Budgets | None = None,
    machine: Path | None = None,
    constraints: Constraints | None = None,
    importance: str | None = None,
    normaliser: str | None = None,
    nested: bool = False,
    strategy: str | None = None,
    replanned: Path | None = None,
    overwrite: bool = False,
    largest: bool = False,
) -> tuple[WrittenPlan, ...]:
    """Make a plan for every ratio and write them all; raise before the first if one is refused.

    A plan that doesn't keep what it was asked for is written only if the `largest` one will do.

    Each keeps the other `budgets` as well; without a ratio it is one plan that keeps those. Those
    of `nested` ratios remove all that the smaller ones do. A plan that is `replanned` lends its
    pins, its edits as pins, and what else it was made by wherever nothing else is said: every
    constraint, importance, strategy, and its budgets if there is none. Raise `UsageError` where
    nothing is asked.
    Pins come from the plan that is replaced, or else from the analysis's own plan.yaml.
    """
    wishes: Wanted | None = None
    budgets = budgets or Budgets()
    if replanned is not None:
        plan, pins = pins_from_edits(analysis, replanned)
        wishes = pins, replanned, (f"keeps the pins and edits of {replanned}.",)
        if plan.analysis is not None and importance is None:
            importance, normaliser = (
                plan.analysis.importance,
                normaliser or plan.analysis.normalised_by,
            )
        if plan.target is not None:
            constraints = merge_constraints(plan.target.constraints, constraints or Constraints())
            strategy = strategy or plan.target.strategy
        if plan.target is not None and not ratios and not budgets.said():
            ratios = [] if plan.target.ratio is None else [plan.target.ratio]
            budgets = budgets_of(plan.target)
            machine = machine or machine_path(plan, replanned)
    budgets = with_stored_dtype(budgets, analysis.record.model.storage)
    places = plan_paths(analysis.folder, ratios, out)
    timed = machine_for(machine, budgets, analysis.record.structure)
    targets = targets_for(
        list(places),
        budgets,
        constraints or Constraints(),
        nested=nested,
        strategy=strategy or "knapsack",
        machine=timed.cited_from(next(iter(places.values()))) if timed else None,
    )
    standing = {path: existing_plan(path, overwrite=overwrite) for path in places.values()}
    default = analysis.folder / PLAN_FILE
    if wishes is None and default not in standing and default.is_file():
        standing[default] = ExistingPlan(read_plan(default), edited=False)
    made = [
        _planned(
            analysis,
            targets[ratio],
            path,
            wishes or inherited_pins(analysis, path, standing),
            timed,
            importance=importance,
            normaliser=normaliser,
        )
        for ratio, path in places.items()
    ]
    worth, _ = importance_of(made[0].plan, analysis)
    structure = analysis.record.structure
    written, drafts = [], []
    for path, planned in zip(places.values(), made, strict=True):
        optimality = optimality_of(planned.plan, structure, planned.effect, worth)
        doubt = doubt_of(analysis.record, planned.scoring)
        parts = (planned.plan, structure, planned.effect, planned.scoring, optimality, doubt)
        header = header_lines(*parts, analysis.record.model.storage)
        will_do = planned.reached or largest
        if will_do:
            drafts.append(Draft(path, planned.plan, header))
        written.append(WrittenPlan(path, planned, optimality, will_do))
    replace_plans(drafts)
    return tuple(written)


def _planned(
    analysis: Analysis,
    target: Target,
    path: Path,
    wishes: Wanted,
    machine: Machine | None,
    *,
    importance: str | None,
    normaliser: str | None,
) -> PlanResult:
    """One plan, its analysis named relative to where it will lie."""
    pins, source, notes = wishes
    planned = make_plan(
        analysis,
        target,
        importance=importance,
        normaliser=normaliser,
        pins=pins,
        pins_of=str(source),
        latencies=machine.latencies if machine else None,
    )
    plan = _cited(planned.plan, analysis.folder, path)
    return replace(
        planned, plan=plan, notes=(*notes, *(machine.doubts if machine else ()), *planned.notes)
    )


def _cited(plan: PrunePlan, folder: Path, path: Path) -> PrunePlan:
    """The plan with the way to its analysis, from where the plan really lies."""
    if plan.analysis is None:
        return plan
    way = relative_path(path.parent, folder)
    return plan.model_copy(update={"analysis": plan.analysis.model_copy(update={"path": way})})


_SUFFIX = ".csv"
_FIRST_COLUMNS = b'"layer_idx","group_type","group_idx"'


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
    removed = {name: _removed(table, structure, plan) for name, plan in plans.items()}
    columns = {**table.named_columns(costs), "group_type": kinds, **removed}
    with temporary_file(path) as temporary:
        csv.write_csv(pa.table(columns), temporary)


def _removed(table: GroupTable, structure: ModelStructure, plan: PrunePlan) -> NDArray[np.bool_]:
    """Mark the rows that the plan removes."""
    marked = np.zeros(len(table), bool)
    for layer, kind, indices in removed_by(plan, structure):
        marked[table.sublayers[layer, kind][indices]] = True
    return marked
