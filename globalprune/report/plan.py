"""The section of a plan, with the target it was made for."""

from collections.abc import Iterator
from typing import Any

from globalprune.artifacts.analyses.analysis import Scoring, scored_table
from globalprune.artifacts.formatting import GROUP_NAMES, describe_model
from globalprune.artifacts.plans.plan import PrunePlan, SublayerPins, Target
from globalprune.artifacts.plans.plan_compliance import violations
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.plans.plan_summary import (
    LayerSummary,
    SublayerSummary,
    layer_summaries,
    plan_scoring,
    plan_warning,
)
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.report.blocks import (
    Block,
    Facts,
    OverviewRow,
    Subsection,
    Table,
    format_percent,
    format_share,
    warning_block,
)
from globalprune.report.drawing import SUBLAYER_NAMES, kept_plot
from globalprune.report.inputs import PlanInput


def plan_subsection(given: PlanInput) -> tuple[Subsection, tuple[OverviewRow, ...]]:
    """Return the subsection of a plan, and its row of the overview."""
    plan, record = given.plan, given.record
    facts = [*_origin(plan), *target_facts(plan)]
    if record is None:
        blocks: tuple[Block, ...] = (
            Facts(tuple(facts)), *warning_block((given.warning,)), _index_table(plan)
        )  # fmt: skip
        return Subsection("plan", "The plan", blocks), ()
    effect = effect_of(plan, record.structure)
    layers, scoring, scoring_warning = _layers(given, effect)
    model = record.model
    broken = violations(plan, effect, record.structure, model.traits, model.storage)
    warnings = (plan_warning(plan, record), given.warning, scoring_warning, *broken)
    lost = _lost(given, layers, scoring)
    blocks = (
        Facts((*_removed(effect), *lost, *facts)),
        *warning_block(tuple(filter(None, warnings))),
        *kept_plot(layers),
        _layer_table(layers),
    )
    overview = OverviewRow("plan", f"{effect.parameters_after:,}", format_percent(effect.ratio))
    return Subsection("plan", "The plan", blocks), (overview,)


def target_facts(plan: PrunePlan) -> Iterator[tuple[str, str]]:
    """Yield the facts of `target` and of `pin`."""
    if plan.target is not None:
        yield from _target(plan.target)
    if not plan.remove_empty_layers:
        yield "layers that lose everything", "stay as they are passed through"
    if plan.pin:
        yield "pins", "\n".join(_pins(plan))


def _target(target: Target) -> Iterator[tuple[str, str]]:
    """Yield budgets and constraints as plan.yaml spells them."""
    yield "target", _settings_text(target.explicit())
    if target.constraints:
        yield "constraints", _settings_text(target.constraints.explicit())
    if target.within:
        yield "within plans of", ", ".join(f"{ratio:g}" for ratio in target.within)
    if target.strategy != "knapsack":
        yield "strategy", target.strategy
    if target.machine is not None:
        yield "latencies", target.machine.record


def _settings_text(settings: dict[str, Any]) -> str:
    """`ratio 0.2, dtype bfloat16`."""
    return ", ".join(f"{name} {_value(value)}" for name, value in settings.items())


def _value(value: Any) -> str:
    """Integers with commas, anything else as YAML has it."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _pins(plan: PrunePlan) -> Iterator[str]:
    """Yield a line for every sublayer that is pinned."""
    for layer, pins in plan.pin.items():
        for kind in GROUP_TYPES:
            if pins.of(kind):
                yield f"layer {layer} {SUBLAYER_NAMES[kind]}: {_pin_text(pins.of(kind))}"


def _pin_text(pins: SublayerPins) -> str:
    """`keep 0; width 1,024`."""
    rules = [
        f"{name} {ranges}" for name, ranges in (("keep", pins.keep), ("remove", pins.remove))
        if ranges
    ]  # fmt: skip
    if pins.width is not None:
        rules.append(f"width {pins.width:,}")
    return "; ".join(rules)


def _layers(
    given: PlanInput, effect: PlanEffect
) -> tuple[tuple[LayerSummary, ...], Scoring | None, str]:
    """Return every layer with the importance that the plan was made by, if its table is there."""
    assert given.record is not None  # noqa: S101 - the caller checks it
    if given.analysis is None:
        return layer_summaries(given.record.structure, None, effect), None, ""
    scoring, warning = plan_scoring(given.plan, given.analysis)
    table = scored_table(given.analysis, scoring)
    return layer_summaries(given.record.structure, table, effect), scoring, warning


def _origin(plan: PrunePlan) -> Iterator[tuple[str, str]]:
    """Yield the model that the plan was made for, and who wrote it."""
    if plan.model is not None:
        yield "made for", describe_model(plan.model.source, plan.model.revision)
    if plan.generated is None:
        yield "written", "by hand"
    elif plan.edited:
        yield "written", "by gp plan, and edited by hand since"
    else:
        yield "written", "by gp plan, not edited since"


def _removed(effect: PlanEffect) -> Iterator[tuple[str, str]]:
    """Yield what the plan removes, by kinds of groups."""
    yield "parameters that go", format_share(effect.removed, effect.parameters_before)
    yield "parameters that stay", f"{effect.parameters_after:,}"
    for kind in GROUP_TYPES:
        groups = effect.removed_groups[kind]
        stay = sum(len(layer.of(kind)) for layer in effect.layers)
        yield f"{GROUP_NAMES[kind]} that go", format_share(groups, groups + stay)
    if effect.dropped_layers:
        yield "layers that go whole", ", ".join(map(str, effect.dropped_layers))


def _lost(
    given: PlanInput, layers: tuple[LayerSummary, ...], scoring: Scoring | None
) -> Iterator[tuple[str, str]]:
    """Yield the share of the importance that goes; it says nothing of perplexity."""
    name = "importance that goes"
    if scoring is None or given.analysis is None:
        return
    sublayers = [layer.sublayers[kind] for layer in layers for kind in GROUP_TYPES]
    if any(sublayer.lost is None and sublayer.kept < sublayer.groups for sublayer in sublayers):
        yield name, f"not known, since layers go that were not measured ({scoring})"
        return
    lost = sum(sublayer.lost or 0.0 for sublayer in sublayers)
    total = float(scored_table(given.analysis, scoring).importance.sum())
    assumes = given.plan.analysis.assumes if given.plan.analysis else None
    if assumes == "compensation":
        # the last group of an order is worth all that went before, so a share says nothing
        yield name, f"{lost * total:.4g} nats a token by {scoring}, behind compensation"
    elif total > 0:  # importances below 0 have no shares
        yield name, f"{format_percent(lost)} of all, by {scoring}"


def _layer_table(layers: tuple[LayerSummary, ...]) -> Table:
    """Return what each layer keeps and loses."""
    rows = tuple(
        (
            f"{layer.layer_idx}{' (goes whole)' if layer.dropped else ''}",
            *(f"{sublayer.kept:,} of {sublayer.groups:,}" for sublayer in layer.sublayers.values()),
            *(_lost_cell(sublayer) for sublayer in layer.sublayers.values()),
        )
        for layer in layers
    )
    head = (
        "layer", "attention groups", "MLP channels", "attention: importance lost",
        "MLP: importance lost",
    )  # fmt: skip
    return Table(head, rows, title="Layer by layer")


def _lost_cell(sublayer: SublayerSummary) -> str:
    """Return the share of the importance that a sublayer loses; empty where it is not known."""
    return "" if sublayer.lost is None else f"{100 * sublayer.lost:.3f} %"


def _index_table(plan: PrunePlan) -> Table:
    """Return the index sets of the plan, for a model whose numbers of groups are not known."""
    rows = tuple(
        (str(layer), *(str(cuts.of(kind)) for kind in GROUP_TYPES))
        for layer, cuts in plan.layers.items()
    )
    head = ("layer", *(f"{name} that go" for name in GROUP_NAMES.values()))
    return Table(head, rows, title="Layer by layer")
