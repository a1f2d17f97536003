"""What a plan takes over from the one before it: pins, hand edits as pins, and the target."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.plan import LayerPins, PrunePlan, SublayerPins
from globalprune.artifacts.plans.plan_file import PLAN_FILE, ExistingPlan, read_plan
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import UsageError
from globalprune.options import PlanOptions
from globalprune.planning.diff import SublayerDifference, differences
from globalprune.planning.eligibility import Pins
from globalprune.planning.latency import machine_path
from globalprune.planning.options import merge_constraints
from globalprune.planning.review import review_plan

ExistingPlans = Mapping[Path, ExistingPlan | None]  # by their files


def inherited_pins(analysis: Analysis, path: Path, existing: ExistingPlans) -> Pins:
    """Return the pins that bind a plan at `path`: its own, else those of the analysis's plan.yaml.

    Pins of another structure bind nothing here. Raise `PlanInvalid` where they name what the
    structure lacks.
    """
    notes: list[str] = []
    replaced = existing.get(path)
    if replaced is not None and replaced.edited:
        notes.append(f"{path}: was edited by hand; its edits and comments were replaced.")
    structure = analysis.record.structure
    for source in dict.fromkeys((path, analysis.folder / PLAN_FILE)):
        found = existing.get(source)
        if found is None or not found.plan.pin:
            continue
        model = found.plan.model
        if model is not None and model.structure != structure.fingerprint:
            notes.append(f"the pins of {source} are for another structure ({model.source}).")
            continue
        pins = read_plan(source, structure).pin
        notes.append(f"honours the pins of {source} (layers {', '.join(map(str, pins))}).")
        return Pins(pins, str(source), tuple(notes))
    return Pins({}, str(path), tuple(notes))


def replan(options: PlanOptions, analysis: Analysis, path: Path) -> tuple[PlanOptions, Pins]:
    """Return the options with what the plan at `path` says where they don't, and its pins.

    Raise `UsageError` where the edits of the plan can't be found.
    """
    plan, pins = _edits_as_pins(analysis, path)
    if plan.analysis is not None and options.importance is None:
        options = replace(
            options,
            importance=plan.analysis.importance,
            normaliser=options.normaliser or plan.analysis.normalised_by,
        )
    if plan.target is None:
        return options, pins
    options = replace(
        options,
        constraints=merge_constraints(plan.target.constraints, options.constraints),
        strategy=options.strategy or plan.target.strategy,
    )
    if not options.ratios and not options.budgets.amounts():
        options = replace(
            options,
            ratios=() if plan.target.ratio is None else (plan.target.ratio,),
            budgets=plan.target.without_ratio(),
            machine=options.machine or machine_path(plan, path),
        )
    return options, pins


def _edits_as_pins(analysis: Analysis, path: Path) -> tuple[PrunePlan, Pins]:
    """The plan at `path`, and its pins together with what a person changed in it, as pins.

    A group that was taken out of the plan is one to keep, one that was added is one to remove. All
    that a plan removes which gp didn't write is an edit.
    """
    review = review_plan(path, analysis.folder)
    plan, edits = review.plan, review.edits
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
    layers = dict(plan.pin)
    for edit in edits:
        groups = analysis.record.structure.layers[edit.layer_idx].sublayer(edit.group_type).groups
        layers[edit.layer_idx] = _with_edit(layers.get(edit.layer_idx, LayerPins()), edit, groups)
    notes = (f"keeps the pins and edits of {path}.",)
    return plan, Pins(dict(sorted(layers.items())), str(path), notes)


def _with_edit(pins: LayerPins, edit: SublayerDifference, groups: int) -> LayerPins:
    """The pins of a layer with an edit of one sublayer, which overrules them."""
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
