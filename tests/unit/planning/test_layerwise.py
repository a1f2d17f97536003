"""`--strategy layerwise`: each layer by itself, the more of it the less it is worth."""

import itertools
import json
from pathlib import Path

import pytest
from analyses import analysis_of, saved_analysis, structure_of
from command_line import gp, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.artifacts.plans.plan import Constraints, Target
from globalprune.planning.planner import PlanResult, make_plan

SHAPE = ((4, 60), (4, 60), (4, 60))


def by_layer(seed: int, ratio: float, share: float = 0.3) -> PlanResult:
    """A plan of three layers."""
    constraints = Constraints(attention_share=share)
    target = Target(ratio=ratio, strategy="layerwise", constraints=constraints)
    return make_plan(analysis_of(structure_of(SHAPE), seed), target)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 999), ratio=st.sampled_from([0.1, 0.25, 0.4]))
def test_the_budget_is_kept(seed: int, ratio: float) -> None:
    """To less than a channel."""
    planned = by_layer(seed, ratio)
    assert 0 <= planned.effect.removed - planned.statuses[0].requirement.to_save < 6


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999))
def test_what_is_worth_more_loses_less(seed: int) -> None:
    """By the sums over layers; a third of what goes is attention, to a group of each layer."""
    analysis, planned = analysis_of(structure_of(SHAPE), seed), by_layer(seed, 0.25)
    table = analysis.table
    worth = [float(table.importance[table.layer_idx == at].sum()) for at in range(3)]
    gone = [
        50 * (4 - len(layer.attention)) + 6 * (60 - len(layer.mlp))
        for layer in planned.effect.layers
    ]
    order = sorted(range(3), key=worth.__getitem__)
    attention = sum(50 * (4 - len(layer.attention)) for layer in planned.effect.layers)

    assert all(gone[less] >= gone[more] - 56 for less, more in itertools.pairwise(order))
    assert abs(attention - 0.3 * planned.effect.removed) <= 3 * 50


def test_something_is_left_standing() -> None:
    """A ratio that can't be reached gives the largest plan, and that one can be read."""
    planned = by_layer(0, 0.99)
    assert not planned.is_met
    assert any(layer.attention or layer.mlp for layer in planned.effect.layers)


def test_it_never_loses_less_than_the_knapsack() -> None:
    """Which is why it isn't the default."""
    analysis = analysis_of(structure_of(SHAPE), 3)
    best = make_plan(analysis, Target(ratio=0.25)).plan
    other = by_layer(3, 0.25).plan
    lost = [
        sum(
            float(
                analysis.table.importance[rows][
                    plan.layers[layer].of(kind).resolved(len(rows)).to_array()
                ].sum()
            )
            for (layer, kind), rows in analysis.table.sublayers.items()
            if layer in plan.layers
        )
        for plan in (best, other)
    ]
    assert lost[0] <= lost[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strategy", "greedy"), r"--strategy greedy: there is knapsack and layerwise"),
        (("--strategy", "layerwise", "--uniform"), r"layerwise knows no uniform; leave it out"),
        (("--strategy", "layerwise", "--kv-cache", "9B"), r"layerwise knows no kv_cache"),
    ],
)
def test_what_it_cannot_keep_is_refused(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    """By name."""
    folder = saved_analysis(tmp_path / "analysis").folder
    refused(gp("plan", folder, "--ratio", 0.2, *words), message)


def test_the_plan_says_so_and_can_be_made_again(tmp_path: Path) -> None:
    """An edit of it is found like any other's."""
    folder = saved_analysis(tmp_path / "analysis", structure_of(SHAPE)).folder
    gp("plan", folder, "--ratio", 0.2, "--strategy", "layerwise")
    plan = folder / "plan.yaml"
    text = plan.read_text("utf-8")
    assert "strategy: layerwise" in text
    plan.write_text(text.replace("remove_empty_layers: true", "remove_empty_layers: false"))
    found = json.loads(gp("check", plan, "--json").out)

    assert found["edited"]
    assert found["edits"] == []
