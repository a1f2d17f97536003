"""The plans of plans/ for large models, each applied to a model of its shape without memory."""

from pathlib import Path

import pytest
from named_shapes import CONFIGS, checkpoint_of

from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.models.configs.pruned_config import prune_config
from globalprune.models.meta_model import class_differences
from globalprune.models.registry import adapter_for
from globalprune.planning.summary import removal_text
from globalprune.surgery.steps import cutting_steps, promised_tensors

PLANS = Path(__file__).parents[3] / "plans"
LARGE = sorted(path for path in PLANS.glob("*.yaml") if not path.name.startswith("smollm2"))
PLAIN = {"llama-3-8b-four-layers-less", "qwen3-8b-narrower-everywhere"}  # need no modeling file


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_the_class_that_loads_it_has_the_shapes_that_are_cut(path: Path) -> None:
    """And the comment at its top is true."""
    named = read_plan(path).model
    assert named is not None
    checkpoint = checkpoint_of(named.source)
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    plan = read_plan(path, structure)
    effect = effect_of(plan, structure)
    tensors = promised_tensors(cutting_steps(checkpoint.tensors, adapter, structure, effect))
    edit = prune_config(checkpoint.config, structure, effect)
    said = path.read_text("utf-8")

    assert list(class_differences(edit.config, tensors)) == []
    assert sum(info.parameters for info in tensors.values()) == effect.parameters_after
    assert edit.uneven is (path.stem not in PLAIN)
    assert f"# as written: {removal_text(effect)}\n" in said
    assert f"#   leaves {effect.parameters_after:,} parameters" in said


def test_there_is_one_for_every_shape() -> None:
    """Named as on the Hub."""
    named = [plan.model.source for plan in map(read_plan, LARGE) if plan.model]
    assert sorted(named) == sorted(CONFIGS)
