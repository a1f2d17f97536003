"""Law 4: removed ≥ asked, overshoot below the smallest standing group, monotone in the budget."""

import itertools
from typing import Any

import numpy as np
from analyses import analysis_of, storage_of, structure_of
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.budgets import statuses_of
from globalprune.artifacts.plans.plan import Constraints, Target
from globalprune.artifacts.stored_weights import Dtype
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.planner import PlanResult, make_plan

LAYERS = st.tuples(st.integers(0, 3), st.integers(0, 9))
BUDGETS = st.sampled_from(["ratio", "parameters", "size", "size in float16"])
BOUNDS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "floors": {"min_attention_groups": 1, "min_mlp": 2},
    "a layer stays": {"protect_layers": "0"},
    "ceiling": {"max_layer_ratio": 0.6},
    "mlp": {"only": "mlp"},
    "share": {"attention_share": 0.4},
    "pairs": {"round_mlp": 2},
    "uniform": {"uniform": True},
    "whole layers": {"whole_layers": True},
}


@st.composite
def models(draw: st.DrawFn) -> ModelStructure:
    """Layers of several widths, whose groups cost differently from some layer on."""
    parts = [
        structure_of(
            draw(st.lists(LAYERS, min_size=1, max_size=3)),
            attention_cost=draw(st.sampled_from([7, 50])),
            mlp_cost=draw(st.sampled_from([1, 6])),
        )
        for _ in range(draw(st.integers(1, 2)))
    ]
    whole = ModelStructure(
        layers=tuple(layer for part in parts for layer in part.layers),
        parameters=sum(part.parameters for part in parts),
    )
    assume(whole.prunable)
    return whole


def target_of(budget: str, part: float, analysis: Analysis, **bounds: Any) -> Target:
    """A budget that asks for about that part of all that may go."""
    structure, storage = analysis.record.structure, analysis.record.model.storage
    assert storage is not None
    constraints = Constraints.model_validate(bounds)
    gone = part * structure.prunable
    if budget == "ratio":
        return Target(ratio=gone / structure.parameters, constraints=constraints)
    if budget == "parameters":
        left = structure.parameters - int(gone)
        return Target(parameters=left, constraints=constraints)
    dtype: Dtype | None = "float16" if "float16" in budget else None
    whole = storage.most_bytes(dtype)
    size = whole - int(gone * storage.tensor_bytes(dtype) / structure.parameters)
    return Target(size=size, dtype=dtype, constraints=constraints)


def analysis_with_storage(structure: ModelStructure, seed: int) -> Analysis:
    """Random importances of a model whose attention is stored wider than all else."""
    return analysis_of(structure, seed, storage=storage_of(structure, "BF16", attention="F32"))


def sums_of(costs: list[int]) -> set[int]:
    """What any groups save together."""
    sums = {0}
    for cost in costs:
        sums |= {found + cost for found in sums}
    return sums


@settings(deadline=None, max_examples=80)
@given(structure=models(), budget=BUDGETS, part=st.floats(0, 0.95), seed=st.integers(0, 99))
@example(structure=structure_of(((1, 1),)), budget="parameters", part=0.7, seed=0)
def test_enough_goes_and_hardly_more(
    structure: ModelStructure, budget: str, part: float, seed: int
) -> None:
    """The overshoot is less than any group left saves, or no groups together overshoot less."""
    analysis = analysis_with_storage(structure, seed)
    planned = make_plan(analysis, target_of(budget, part, analysis))
    (met,) = planned.statuses
    sublayers = list(structure.sublayers())
    cost = [
        int(met.requirement.cost[layer, GROUP_TYPES.index(kind)]) for layer, kind, _ in sublayers
    ]
    kept = [len(planned.effect.layers[layer].of(kind)) for layer, kind, _ in sublayers]
    standing = [saved for saved, count in zip(cost, kept, strict=True) if count and saved]
    every = [
        saved
        for saved, (_, _, sublayer) in zip(cost, sublayers, strict=True)
        for _ in range(sublayer.groups)
    ]
    (counted,) = statuses_of(
        planned.plan.target or Target(ratio=0), planned.effect, structure,
        analysis.record.model.storage,
    )  # fmt: skip

    assert planned.is_met or met.requirement.to_save > sum(every) - min(every)
    assert counted.saved == met.saved
    if planned.is_met:
        over = met.saved - met.requirement.to_save
        least = min(found for found in sums_of(every) if found >= met.requirement.to_save)
        assert over >= 0
        assert over < min(standing) or met.saved == least


@settings(deadline=None, max_examples=80)
@given(
    structure=models(),
    budget=BUDGETS,
    bound=st.sampled_from(sorted(BOUNDS)),
    parts=st.lists(st.floats(0, 1), min_size=2, max_size=5),
    seed=st.integers(0, 99),
)
def test_a_larger_budget_never_removes_less(
    structure: ModelStructure, budget: str, bound: str, parts: list[float], seed: int
) -> None:
    """Under any constraint, and up to what can't be reached, where the largest plan is it."""
    analysis = analysis_with_storage(structure, seed)
    saved = []
    for part in sorted(parts):
        planned = planned_or_refused(analysis, target_of(budget, part, analysis, **BOUNDS[bound]))
        saved.append(planned.statuses[0].saved)
        assert (
            not planned.is_met
            or planned.statuses[0].saved >= planned.statuses[0].requirement.to_save
        )

    assert all(smaller <= larger for smaller, larger in itertools.pairwise(saved))


@settings(deadline=None, max_examples=40)
@given(structure=models(), parts=st.lists(st.floats(0, 0.9), min_size=2, max_size=4, unique=True))
def test_nested_plans_keep_each_budget(structure: ModelStructure, parts: list[float]) -> None:
    """Each removes all that the smaller ones do, at least what was asked, and hardly more."""
    analysis = analysis_with_storage(structure, 3)
    share = structure.prunable / structure.parameters
    ratios = sorted({round(part * share, 4) for part in parts})
    gone = np.zeros(len(analysis.table), bool)
    for number, ratio in enumerate(ratios):
        planned = make_plan(analysis, Target(ratio=ratio, within=tuple(ratios[:number])))
        now = np.zeros(len(analysis.table), bool)
        for (layer, kind), rows in analysis.table.sublayers.items():
            if layer in planned.plan.layers:
                now[rows[planned.plan.layers[layer].of(kind).resolved(len(rows)).to_array()]] = True
        (met,) = planned.statuses
        assert not (gone & ~now).any()
        assert planned.is_met or now.sum() >= len(now) - 1
        added = analysis.table.cost[now & ~gone]
        if planned.is_met and len(added):
            assert met.saved - met.requirement.to_save < max(added)
        gone = now


def planned_or_refused(analysis: Analysis, target: Target) -> PlanResult:
    """The plan; constraints that no cut of this model keeps are no example."""
    try:
        return make_plan(analysis, target)
    except (PlanInvalid, UsageError):
        assume(False)
        raise
