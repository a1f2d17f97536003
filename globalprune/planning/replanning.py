"""What a person wants, found in the plans that are there: pins, and edits that become pins."""

from collections.abc import Mapping
from pathlib import Path

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.index_set import IndexRanges
from globalprune.artifacts.plans.plan import HalfPins, LayerPins, PrunePlan
from globalprune.artifacts.plans.plan_file import PLAN_FILE, StandingPlan, read_plan
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import UsageError
from globalprune.planning.difference import HalfDifference, differences
from globalprune.planning.pins import Pins
from globalprune.planning.review import review_plan

Standing = Mapping[Path, StandingPlan | None]  # what is there, by place


def standing_pins(
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


def edited_pins(analysis: Analysis, path: Path) -> tuple[PrunePlan, Pins]:
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
        groups = analysis.record.structure.layers[edit.layer_idx].half(edit.group_type).groups
        pins[edit.layer_idx] = _with_edit(pins.get(edit.layer_idx, LayerPins()), edit, groups)
    return plan, dict(sorted(pins.items()))


def _with_edit(pins: LayerPins, edit: HalfDifference, groups: int) -> LayerPins:
    """The pins of a layer with an edit of one half, which is newer than they are."""
    old = pins.of(edit.group_type)
    stays, goes, keep, remove = (
        set(ranges.resolve(groups).tolist())
        for ranges in (edit.only_first, edit.only_second, old.keep, old.remove)
    )
    half = HalfPins(
        keep=IndexRanges.of((keep - goes) | stays),
        remove=IndexRanges.of((remove - stays) | goes),
        width=old.width,
    )
    halves = {kind: pins.of(kind) for kind in GROUP_TYPES} | {edit.group_type: half}
    return LayerPins(**halves)
