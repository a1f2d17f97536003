"""Cuts that a plan is held against: as large as the plan, and made without it."""

from dataclasses import replace

import numpy as np
import pytest
from analyses import analysis_of, structure_of

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.reliability import TrialCut
from globalprune.artifacts.plans.plan import Target
from globalprune.artifacts.structure import GroupType
from globalprune.pipeline.analyze import trial_candidates
from globalprune.planning.planner import make_plan

STRUCTURE = structure_of()  # three layers of 2 attention groups (50) and 4 channels (6)
ANALYSIS = analysis_of(STRUCTURE)


def ratio_of(parameters: int) -> float:
    """A ratio that asks for so many parameters and not for one more, however it is rounded."""
    return (parameters - 0.5) / STRUCTURE.parameters


def candidates_at(ratio: float) -> dict[str, TrialCut]:
    """The candidates of the plan at that ratio, by name."""
    plan = make_plan(ANALYSIS, Target(ratio=ratio)).plan
    return {one.name: one for one in trial_candidates(ANALYSIS, plan)}


def test_every_cut_is_as_large_as_the_plan() -> None:
    """By less than the smallest group; a kind that doesn't hold as much is left out."""
    small = candidates_at(ratio_of(51))
    large = candidates_at(ratio_of(201))

    assert set(small) == {"plan", "attention", "mlp", "random"}
    assert set(large) == {"plan", "attention", "random"}  # all channels hold 72
    for found in (small, large):
        for one in found.values():
            costs = {"attention": 50, "mlp": 6}
            count = {sublayer: len(groups) for sublayer, groups in one.groups.items()}
            assert one.parameters == sum(costs[kind] * n for (_, kind), n in count.items())
            assert one.parameters >= found["plan"].parameters
    assert {kind for _, kind in small["attention"].groups} == {"attention"}
    assert {kind for _, kind in small["mlp"].groups} == {"mlp"}


def test_a_kind_gives_what_is_worth_least() -> None:
    """The lowest scores of the table, of that kind alone; what it predicts is their sum."""
    mlp = candidates_at(ratio_of(50))["mlp"]
    table = ANALYSIS.table
    rows = np.flatnonzero(table.group_type == 1)[:9]

    taken = {(layer, int(group)) for (layer, _), groups in mlp.groups.items() for group in groups}
    assert taken == set(zip(table.layer_idx[rows], table.group_idx[rows], strict=True))
    assert mlp.predicted == pytest.approx(table.importances["mine"][rows].sum())


def test_what_was_decided_is_in_all_of_them() -> None:
    """Worth nothing by now; only what goes beyond it is chosen."""
    decided: dict[tuple[int, GroupType], np.ndarray] = {
        (0, "attention"): np.array([1]),
        (2, "mlp"): np.array([0, 3]),
    }
    table = ANALYSIS.table
    mine = table.importances["mine"].copy()
    for sublayer, groups in decided.items():
        mine[table.sublayers[sublayer][groups]] = 0.0
    columns = (table.layer_idx, table.group_type, table.group_idx, table.cost)
    analysis = replace(ANALYSIS, table=GroupTable.build(*columns, {"mine": mine}, table.metadata))

    plan = make_plan(analysis, Target(ratio=ratio_of(165))).plan
    found = trial_candidates(analysis, plan, decided)
    smaller = make_plan(analysis, Target(ratio=ratio_of(62))).plan

    assert {one.name for one in found} > {"plan", "random"}
    for one in found:
        for sublayer, groups in decided.items():
            assert set(groups.tolist()) <= set(one.groups[sublayer].tolist())
    assert trial_candidates(analysis, smaller, decided) == ()


def test_methods_that_foretell_no_masked_loss_predict_nothing() -> None:
    """A score without the unit of loss, and one that counts on compensation."""
    plan = make_plan(ANALYSIS, Target(ratio=0.1)).plan
    for name in ("incomparable", "compensated"):
        record = ANALYSIS.record.model_copy(update={name: ("mine",)})
        analysis = replace(ANALYSIS, record=record)
        assert {one.predicted for one in trial_candidates(analysis, plan)} == {None}
