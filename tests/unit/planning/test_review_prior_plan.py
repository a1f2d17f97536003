"""What a plan takes over from the one that it is made from: edits as pins, and the target."""

from pathlib import Path
from typing import Any

import pytest
from analyses import saved_analysis, structure_of

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Constraints, PrunePlan
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import UsageError
from globalprune.options import PlanOptions
from globalprune.planning.write import write_plans


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """Three layers on disk."""
    return saved_analysis(tmp_path / "analysis", structure_of(((2, 8), (2, 8), (2, 8))))


def edited(path: Path, layers: str) -> Path:
    """The plan with other decisions."""
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("\nlayers:") + 1] + layers, "utf-8")
    return path


def planned(analysis: Analysis, path: Path, ratio: float, **options: Any) -> PrunePlan:
    """The plan that is written, or would be."""
    return write_plans(analysis, PlanOptions((ratio,), **options), path)[0].plan


def again(analysis: Analysis, path: Path, ratio: float = 0.4, **options: Any) -> PrunePlan:
    """What is planned from the plan that lies there."""
    out = path.with_name("again.yaml")
    return planned(analysis, out, ratio, replanned=path, overwrite=True, **options)


def test_edits_become_pins(analysis: Analysis, tmp_path: Path) -> None:
    """What was taken out stays at every ratio, what was added goes."""
    path = tmp_path / "plan.yaml"
    before = planned(analysis, path, 0.2).layers
    gone = {layer: set(cuts.mlp.resolved(8)) for layer, cuts in before.items()}
    layer = next(at for at, channels in gone.items() if channels)
    spared = min(gone[layer])
    added = min(set(range(8)) - gone.get(layer, set()))
    gone[layer] = (gone[layer] - {spared}) | {added}
    lines = [f'  {at}: {{mlp: "{IndexSet.of(found)}"}}\n' for at, found in gone.items() if found]
    plan = again(analysis, edited(path, "layers:\n" + "".join(lines)))

    assert spared in set(plan.pin[layer].mlp.keep)
    assert added in set(plan.pin[layer].mlp.remove)
    final = set(plan.layers[layer].mlp.resolved(8))
    assert spared not in final
    assert added in final


def test_a_plan_of_ones_own_is_all_meant(analysis: Analysis, tmp_path: Path) -> None:
    """Gp wrote nothing that it could be held against."""
    path = tmp_path / "mine.yaml"
    path.write_text('format: globalprune.plan/1\nlayers:\n  2: {mlp: "0, 7"}\n', "utf-8")
    plan = again(analysis, path)

    assert str(plan.pin[2].mlp.remove) == "0, 7"


def test_constraints_stay_unless_others_are_given(analysis: Analysis, tmp_path: Path) -> None:
    """They are a person's wishes as well."""
    constraints = Constraints(min_mlp=5, min_attention_groups=1)
    first = tmp_path / "plan.yaml"
    planned(analysis, first, 0.1, constraints=constraints)
    kept = again(analysis, first)
    changed = again(analysis, first, 0.3, constraints=Constraints(min_mlp=2))

    assert kept.target is not None
    assert kept.target.constraints == constraints
    assert changed.target is not None
    assert changed.target.constraints == Constraints(min_mlp=2, min_attention_groups=1)
    whole = Constraints(whole_layers=True)
    first = tmp_path / "whole.yaml"
    planned(analysis, first, 0.1, constraints=whole)
    with pytest.raises(UsageError, match=r"--uniform and --whole-layers can't be kept together"):
        again(analysis, first, 0.3, constraints=Constraints(uniform=True))


def test_importance_and_strategy_stay_unless_others_are_given(
    analysis: Analysis, tmp_path: Path
) -> None:
    """A plan by another column doesn't come back ranked by the table's own."""
    made_by = {"importance": "other", "normaliser": "mean", "strategy": "layerwise"}
    first = tmp_path / "plan.yaml"
    planned(analysis, first, 0.2, **made_by)
    kept = again(analysis, first)
    changed = again(analysis, first, 0.2, importance="mine", strategy="knapsack")

    assert kept.analysis is not None
    assert kept.target is not None
    assert (kept.analysis.importance, kept.analysis.normaliser) == ("other", "mean")
    assert kept.target.strategy == "layerwise"
    assert changed.analysis is not None
    assert changed.target is not None
    assert (changed.analysis.importance, changed.target.strategy) == ("mine", "knapsack")


def test_a_pin_of_all_outlives_an_edit(analysis: Analysis, tmp_path: Path) -> None:
    """Every other group is still pinned to stay."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        'format: globalprune.plan/1\npin:\n  0: {mlp: {keep: all}}\nlayers:\n  0: {mlp: "3"}\n',
        "utf-8",
    )
    assert str(again(analysis, path).pin[0].mlp.keep) == "0-2, 4-7"


def test_edits_that_cannot_be_told_are_refused(analysis: Analysis, tmp_path: Path) -> None:
    """The plan that gp wrote was made from another analysis."""
    other = saved_analysis(tmp_path / "other", structure_of(((2, 8), (2, 8), (2, 8))), seed=5)
    path = tmp_path / "plan.yaml"
    planned(other, path, 0.3)
    edited(path, 'layers:\n  0: {mlp: "1"}\n')
    with pytest.raises(UsageError, match=r"was edited, and what gp plan wrote can't be made again"):
        again(analysis, path)


def test_edits_are_pinned_over_older_pins(analysis: Analysis, tmp_path: Path) -> None:
    """A group that was pinned to stay, and put into the plan by hand, goes."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        'format: globalprune.plan/1\npin:\n  0: {mlp: {keep: "3, 4"}}\nlayers:\n  0: {mlp: "3"}\n',
        "utf-8",
    )
    plan = again(analysis, path)

    assert str(plan.pin[0].mlp.keep) == "4"
    assert str(plan.pin[0].mlp.remove) == "3"
    assert 3 in set(read_plan(path.with_name("again.yaml")).layers[0].mlp)
