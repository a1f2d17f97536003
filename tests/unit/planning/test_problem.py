"""What goes of a table by a target: the lowest scores, among all that were measured."""

from dataclasses import replace

import numpy as np
from analyses import analysis_of, structure_of

from globalprune.artifacts.plans.budgets import parameters_to_remove
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Target
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.planning.planner import make_plan

SHAPE = ((3, 40), (3, 40), (3, 40))


def test_the_lowest_scores_go_over_all_layers_and_kinds() -> None:
    """But for the last stretch, no group that goes scores above one that stays."""
    analysis = analysis_of(structure_of(SHAPE), seed=3)
    effect = make_plan(analysis, Target(ratio=0.4)).effect
    table = analysis.table
    gone = np.asarray(
        [
            index not in effect.layers[layer].of(GROUP_TYPES[kind])
            for layer, kind, index in zip(
                table.layer_idx.tolist(),
                table.group_type.tolist(),
                table.group_idx.tolist(),
                strict=True,
            )
        ]
    )
    prefix = int(np.argmin(gone))  # the rows are sorted by score

    assert gone[prefix:].sum() * 6 < 50  # what comes behind would fit into one attention group
    assert prefix > 10


def test_ties_fall_by_layer_kind_and_index() -> None:
    """Equal scores go in an order that a person can foretell."""
    analysis = analysis_of(structure_of(SHAPE, attention_cost=6))
    level = analysis.table.importance * 0 + 1.0
    analysis.table.importances["mine"] = level
    flat = analysis.table.rescored("mine")
    plan = make_plan(replace(analysis, table=flat), Target(ratio=0.05)).plan

    assert str(plan.layers[0].attention) == "all"
    assert list(plan.layers) == [0]
    assert str(plan.layers[0].mlp).startswith("0-")


def test_only_measured_layers_are_cut() -> None:
    """`gp analyze --layers 1:2` leaves the others whole, and the ratio is one of all."""
    analysis = analysis_of(structure_of(SHAPE), layers=range(1, 2))
    planned = make_plan(analysis, Target(ratio=0.2))

    assert list(planned.plan.layers) == [1]
    assert planned.statuses[0].requirement.to_save == parameters_to_remove(
        0.2, analysis.record.structure.parameters
    )
    assert planned.is_met


def test_a_ratio_out_of_reach_gives_the_largest_plan() -> None:
    """All that was measured goes, and the plan knows that it falls short."""
    analysis = analysis_of(structure_of(SHAPE), layers=range(1, 2))
    planned = make_plan(analysis, Target(ratio=0.9))

    assert not planned.is_met
    assert str(planned.plan.layers[1].mlp) == "all"
    assert planned.effect.dropped_layers == (1,)


def test_layer_by_layer_the_budget_that_needs_most_decides() -> None:
    """What goes meets a ratio and an amount, and exceeds the greater by less than a channel."""
    structure = structure_of(SHAPE)
    needed = parameters_to_remove(0.3, structure.parameters)
    target = Target(ratio=0.1, parameters=structure.parameters - needed, strategy="layerwise")
    planned = make_plan(analysis_of(structure), target)

    assert planned.is_met
    assert 0 <= planned.effect.removed - needed < 6


def test_something_always_stands() -> None:
    """The largest plan of all spares the cheapest group that is worth most."""
    analysis = analysis_of(structure_of(SHAPE))
    effect = make_plan(analysis, Target(ratio=0.99)).effect

    assert sum(len(layer.attention) + len(layer.mlp) for layer in effect.layers) == 1
    table = analysis.table
    best = np.flatnonzero(table.group_type == 1)[-1]
    worth_most = IndexSet.of([int(table.group_idx[best])])
    assert effect.layers[int(table.layer_idx[best])].mlp == worth_most
