"""Sublayers that can't be cut: no plan takes them, and what is left counts them whole."""

from pathlib import Path

import pytest
from analyses import structure_of
from artifact_values import plan_at

from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import PlanInvalid

FIXED = structure_of(((2, 4), (2, 4)), attention_cost=0, output_bias=100)
ASKING = {
    "a group": ("layers: {0: {attention: 1}}", r"layers\.0\.attention"),
    "all": ("layers: {1: {attention: all, mlp: all}}", r"layers\.1\.attention"),
    "a group that isn't there": ("layers: {0: {attention: 7}}", r"layers\.0\.attention"),
    "a removal": (
        "pin: {0: {attention: {remove: 0}}}\nlayers: {}",
        r"pin\.0\.attention\.remove",
    ),
    "a width": ("pin: {0: {attention: {width: 1}}}\nlayers: {}", r"pin\.0\.attention\.width"),
}


@pytest.mark.parametrize(("content", "where"), ASKING.values(), ids=ASKING)
def test_who_asks_for_some_of_them_is_told_why_not(
    tmp_path: Path, content: str, where: str
) -> None:
    """Once, with the line."""
    path = plan_at(tmp_path / "plan.yaml", content)
    why = (
        rf"plan\.yaml: 1 problem\n  line 2: {where}: the attention of this model can't be cut "
        r"\(its query and key norms span all heads, so that no head goes without changing "
        r"others\); take it out\."
    )
    with pytest.raises(PlanInvalid, match=why):
        read_plan(path, FIXED)


def test_all_of_the_rest_may_go_everywhere(tmp_path: Path) -> None:
    """A layer that keeps its attention is neither empty nor dropped."""
    path = plan_at(tmp_path / "plan.yaml", "layers: {0: {mlp: all}, 1: {mlp: all}}")
    effect = effect_of(read_plan(path, FIXED), FIXED)
    assert effect.dropped_layers == ()
    assert [str(layer.attention) for layer in effect.layers] == ["0-1", "0-1"]
    assert not any(layer.mlp for layer in effect.layers)
    assert effect.parameters_after == FIXED.parameters - 2 * 4 * 6


def test_a_wish_to_keep_them_is_kept(tmp_path: Path) -> None:
    """It asks for nothing that isn't so."""
    pins = 'pin: {0: {attention: {keep: "0-1"}}, 1: {attention: {width: 2}}}\nlayers: {}'
    assert read_plan(plan_at(tmp_path / "plan.yaml", pins), FIXED).pin.keys() == {0, 1}
