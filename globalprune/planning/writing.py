"""Plans to disk: several ratios of one analysis, with the pins that a person left there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from globalprune.artifacts.analysis_folder import Analysis
from globalprune.artifacts.plan_file import (
    PLAN_FILE,
    is_edited,
    read_plan,
    refuse_lost_work,
    write_plan,
)
from globalprune.artifacts.prune_plan import PrunePlan
from globalprune.planning.header import header_of
from globalprune.planning.knowledge import worth_of
from globalprune.planning.pins import Pins
from globalprune.planning.places import plan_places
from globalprune.planning.planner import Planned, make_plan


@dataclass(frozen=True)
class WrittenPlan:
    """A plan, and the file that it is in."""

    path: Path
    planned: Planned


def write_plans(
    analysis: Analysis,
    ratios: Sequence[float],
    out: Path | None = None,
    *,
    importance: str | None = None,
    normaliser: str | None = None,
    overwrite: bool = False,
) -> tuple[WrittenPlan, ...]:
    """Make a plan for every ratio and write them all; raise before the first if one is refused.

    Pins come from the plan that is replaced, or else from the analysis's own plan.yaml.
    """
    places = plan_places(analysis.folder, ratios, out)
    for path in places.values():
        refuse_lost_work(path, overwrite=overwrite)
    made = [
        _planned(analysis, ratio, path, importance=importance, normaliser=normaliser)
        for ratio, path in places.items()
    ]
    worth, _ = worth_of(made[0].planned.plan, analysis)
    for written in made:
        planned = written.planned
        header = header_of(planned.plan, analysis.record.structure, planned.effect, worth)
        write_plan(written.path, planned.plan, header=header, overwrite=overwrite)
    return tuple(made)


def _planned(
    analysis: Analysis, ratio: float, path: Path, *, importance: str | None, normaliser: str | None
) -> WrittenPlan:
    """One plan, its analysis named relative to where it will lie."""
    pins, source, notes = _pins_for(analysis, path)
    planned = make_plan(
        analysis,
        ratio,
        importance=importance,
        normaliser=normaliser,
        pins=pins,
        pins_of=str(source),
    )
    plan = _cited(planned.plan, analysis.folder, path)
    return WrittenPlan(path, replace(planned, plan=plan, notes=(*notes, *planned.notes)))


def _cited(plan: PrunePlan, folder: Path, path: Path) -> PrunePlan:
    """The plan with the way to its analysis, from where the plan really lies."""
    if plan.analysis is None:
        return plan
    way = Path(os.path.relpath(folder.resolve(), path.resolve().parent)).as_posix()
    return plan.model_copy(update={"analysis": plan.analysis.model_copy(update={"path": way})})


def _pins_for(analysis: Analysis, path: Path) -> tuple[Pins, Path, tuple[str, ...]]:
    """Find the pins that bind the plan at `path`: its own, else those of the analysis's plan.yaml.

    Pins of another structure bind nothing here. Raise `PlanInvalid` for a plan that can't be read,
    since it may hold wishes.
    """
    notes: list[str] = []
    if path.is_file() and is_edited(path):
        notes.append(f"{path}: was edited by hand; its edits and comments were replaced.")
    structure = analysis.record.structure
    for source in dict.fromkeys((path, analysis.folder / PLAN_FILE)):
        plan = read_plan(source) if source.is_file() else None
        if plan is None or not plan.pin:
            continue
        if plan.model is not None and plan.model.structure != structure.fingerprint:
            notes.append(f"the pins of {source} are for another structure ({plan.model.source}).")
            continue
        pins = read_plan(source, structure).pin
        notes.append(f"honours the pins of {source} (layers {', '.join(map(str, pins))}).")
        return pins, source, tuple(notes)
    return {}, path, tuple(notes)
