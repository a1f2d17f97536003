"""A plan keeps every constraint and budget that it says, and no other plan that does loses less."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from analyses import analysis_of, structure_of, traits_with
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.budgets import requirements_of
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Constraints, LayerCuts, PrunePlan, Runtime, Target
from globalprune.artifacts.plans.plan_compliance import violations
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.runtime_compatibility import obstacles
from globalprune.artifacts.structure import ModelTraits
from globalprune.errors import PlanInvalid
from globalprune.planning.planner import PlanResult, make_plan

SHAPE = ((2, 3), (2, 3))  # 2 ** 10 cuts of it
SINGLE: dict[str, st.SearchStrategy[object]] = {
    "protect_layers": st.sampled_from([IndexSet.of([0]), IndexSet.of([1])]),
    "min_attention_groups": st.integers(1, 2),
    "min_mlp": st.integers(1, 3),
    "max_layer_ratio": st.sampled_from([0.3, 0.5, 0.8]),
    "only": st.sampled_from(["attention", "mlp"]),
    "attention_share": st.sampled_from([0.2, 0.5, 0.9]),
    "round_mlp": st.sampled_from([2, 4]),
    "uniform": st.just(True),
    "whole_layers": st.just(True),
}


@st.composite
def some_constraints(draw: st.DrawFn) -> Constraints:
    """One, two or three of them, as far as they go together."""
    names = draw(st.lists(st.sampled_from(sorted(SINGLE)), min_size=1, max_size=3, unique=True))
    try:
        return Constraints(**{name: draw(SINGLE[name]) for name in names})
    except ValueError:
        assume(False)
        raise


@settings(deadline=None, max_examples=80)
@given(constraints=some_constraints(), seed=st.integers(0, 999), ratio=st.floats(0.02, 0.5))
def test_constraints_are_kept(constraints: Constraints, seed: int, ratio: float) -> None:
    """Whatever the analysis; a plan that reaches its ratio breaks nothing that it says."""
    analysis = analysis_of(structure_of(((3, 8), (3, 8), (3, 8))), seed)
    target = Target(ratio=round(ratio, 3), constraints=constraints)
    planned = planned_or_refused(analysis, target)

    told = list(violations(planned.plan, planned.effect, analysis.record.structure, None))
    if not planned.is_met:  # the largest plan, which keeps them as well
        told = [what for what in told if not what.startswith("saves ")]
        if constraints.attention_share is not None:
            told = [what for what in told if "attention_share" not in what]
    assert told == []


TOGETHER: dict[str, dict[str, object]] = {
    "nothing": {},
    "a layer stays": {"protect_layers": "1"},
    "floors": {"min_attention_groups": 1, "min_mlp": 2},
    "ceiling": {"max_layer_ratio": 0.5},
    "ceiling and floor": {"max_layer_ratio": 0.7, "min_mlp": 1},
    "mlp": {"only": "mlp"},
    "attention": {"only": "attention"},
    "threes": {"round_mlp": 3},
    "threes below a ceiling": {"round_mlp": 3, "max_layer_ratio": 0.8},
    "uniform": {"uniform": True},
    "uniform below a ceiling": {"uniform": True, "max_layer_ratio": 0.6},
    "whole layers": {"whole_layers": True},
}


@pytest.mark.parametrize("said", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize(("seed", "ratio"), [(1, 0.08), (2, 0.2)])
def test_no_other_plan_that_keeps_them_loses_less(
    said: dict[str, Any], seed: int, ratio: float
) -> None:
    """All cuts of a small model are tried: of those that overshoot least the best was chosen.

    A plan that can't overshoot by less than the cheapest unit overshoots as little as any does.
    """
    analysis = analysis_of(structure_of(SHAPE), seed)
    target = Target(ratio=ratio, constraints=Constraints.model_validate(said))
    planned = make_plan(analysis, target)
    need = planned.statuses[0].requirement.to_save
    cuts = [(removed - need, lost) for removed, lost in kept_cuts(analysis, target)]
    if not planned.is_met:
        assert not cuts
        return
    unit = unit_cost(target.constraints)
    near = [lost for over, lost in cuts if 0 <= over < unit]
    least = min(over for over, _ in cuts)

    assert planned.effect.removed - need < unit or planned.effect.removed - need == least
    assert lost_by(analysis, planned.plan) == pytest.approx(
        min(near or [lost for over, lost in cuts if over == least])
    )


RUNTIMES: dict[str, tuple[Runtime, ModelTraits]] = {
    "llama.cpp": ("llama.cpp", traits_with()),
    "llama.cpp, qwen3": ("llama.cpp", traits_with("qwen3", tied_embeddings=True)),
    "llama.cpp, another qwen3": ("llama.cpp", traits_with("qwen3")),
    "any": ("any", traits_with(hidden_size=6)),
    "any mistral": ("any", traits_with("mistral")),
}


@pytest.mark.parametrize("case", RUNTIMES.values(), ids=RUNTIMES)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), ratio=st.floats(0.02, 0.8))
def test_what_a_runtime_must_load_has_no_obstacle(
    case: tuple[Runtime, ModelTraits], seed: int, ratio: float
) -> None:
    """Whatever is asked, reached or not."""
    runtime, traits = case
    structure = structure_of(((3, 8), (3, 8), (3, 8)))
    constraints = Constraints(runtime=runtime)
    analysis = analysis_of(structure, seed, traits=traits)
    planned = make_plan(analysis, Target(ratio=round(ratio, 3), constraints=constraints))

    assert list(obstacles(runtime, traits, structure, planned.effect)) == []


@pytest.mark.parametrize("seed", range(4))
def test_no_other_plain_checkpoint_loses_less(seed: int) -> None:
    """Of 3 attention groups only 3 or 1 may stay, by the rule of Llama's config."""
    analysis = analysis_of(structure_of(((3, 2), (3, 2))), seed, traits=traits_with(hidden_size=6))
    target = Target(ratio=0.3, constraints=Constraints(runtime="any", uniform=True))
    planned = make_plan(analysis, target)
    lost = [lost for _, lost in kept_cuts(analysis, target)]

    assert lost_by(analysis, planned.plan) == pytest.approx(min(lost))


def unit_cost(constraints: Constraints) -> int:
    """What the cheapest unit costs: a channel, or what goes together."""
    if constraints.whole_layers:
        return 2 * 50 + 3 * 6
    if constraints.only == "attention":
        return 50
    return 6 * constraints.round_mlp * (len(SHAPE) if constraints.uniform else 1)


def planned_or_refused(analysis: Analysis, target: Target) -> PlanResult:
    """The plan; constraints that collide in every plan are refused by name, and no example."""
    try:
        return make_plan(analysis, target)
    except PlanInvalid as error:
        refused = str(error)
    assert any(name in refused for name in target.constraints.explicit())
    assume(False)
    raise AssertionError


def kept_cuts(analysis: Analysis, target: Target) -> Iterator[tuple[int, float]]:
    """What every cut that keeps the target removes and loses."""
    structure = analysis.record.structure
    sublayers = [(layer, kind, sublayer.groups) for layer, kind, sublayer in structure.sublayers()]
    subsets = [
        [
            found
            for size in range(groups + 1)
            for found in itertools.combinations(range(groups), size)
        ]
        for _, _, groups in sublayers
    ]
    for chosen in itertools.product(*subsets):
        cuts: dict[int, dict[str, IndexSet]] = {}
        for (layer, kind, _), gone in zip(sublayers, chosen, strict=True):
            cuts.setdefault(layer, {})[kind] = IndexSet.of(gone)
        plan = PrunePlan(
            target=target,
            layers={layer: LayerCuts.model_validate(sublayer) for layer, sublayer in cuts.items()},
        )
        effect = effect_of(plan, structure)
        stands = any(layer.attention or layer.mlp for layer in effect.layers)
        if stands and not list(violations(plan, effect, structure, analysis.record.model.traits)):
            yield effect.removed, lost_by(analysis, plan)


def lost_by(analysis: Analysis, plan: PrunePlan) -> float:
    """The importance that goes."""
    return sum(
        float(
            analysis.table.importance[rows][
                plan.layers[layer].of(kind).resolved(len(rows)).to_array()
            ].sum()
        )
        for (layer, kind), rows in analysis.table.sublayers.items()
        if layer in plan.layers
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    ratio=st.none() | st.sampled_from([0.1, 0.3]),
    kv_cache=st.none() | st.integers(16, 48),
    flops=st.none() | st.integers(900, 1600),
)
def test_budgets_compose(
    seed: int, ratio: float | None, kv_cache: int | None, flops: int | None
) -> None:
    """Each is kept, and one of them hardly overshot."""
    assume(not ratio == kv_cache == flops)
    analysis = analysis_of(structure_of(((3, 8), (3, 8), (3, 8))), seed)
    target = Target(ratio=ratio, kv_cache=kv_cache, flops=flops, context=2)
    planned = make_plan(analysis, target)

    assert planned.is_met
    needs = requirements_of(target, analysis.record.structure)
    cheapest = [int(need.cost[need.cost > 0].min()) for need in needs]
    over = [met.saved - met.requirement.to_save for met in planned.statuses]
    assert any(more < least for more, least in zip(over, cheapest, strict=True))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), steps=st.lists(st.floats(0.02, 0.6), min_size=2, max_size=4))
def test_nested_plans_are_supersets(seed: int, steps: list[float]) -> None:
    """Of any ratios, each plan removes all that the one before does."""
    ratios = sorted({round(step, 2) for step in steps})
    analysis = analysis_of(structure_of(((3, 8), (3, 8), (3, 8))), seed)
    gone = np.zeros(len(analysis.table), bool)
    for number, ratio in enumerate(ratios):
        target = Target(ratio=ratio, within=tuple(ratios[:number]))
        plan = make_plan(analysis, target).plan
        now = np.zeros(len(analysis.table), bool)
        for (layer, kind), rows in analysis.table.sublayers.items():
            if layer in plan.layers:
                now[rows[plan.layers[layer].of(kind).resolved(len(rows)).to_array()]] = True
        assert not (gone & ~now).any()
        gone = now
