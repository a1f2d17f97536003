"""Judging a mask is judging the model that a cut would leave."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import apply_plan
from cutting import write_removals
from peers import magnitude_global, wanda_sp
from peers.recipes import Prune
from recipe_subjects import emptied, logits_of, some_windows, subject_in

from globalprune.artifacts.structure import GroupType
from globalprune.evaluation.resources import count_parameters
from globalprune.models.loading import load_model


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize("prune", [wanda_sp.prune, magnitude_global.prune], ids=["even", "global"])
def test_a_masked_model_answers_as_the_cut_one(
    tiny: Callable[[str], Path], tmp_path: Path, family: str, prune: Prune
) -> None:
    """The plan of what a recipe emptied leaves a model with its logits and its parameters."""
    folder = tiny(family)
    subject = subject_in(folder)
    removed = prune(subject, some_windows(), subject.structure.parameters // 8)
    removals: dict[int, dict[GroupType, list[int]]] = {}
    for (layer, kind), gone in emptied(subject).items():
        if gone.any():
            removals.setdefault(layer, {})[kind] = gone.nonzero().flatten().tolist()
    plan = write_removals(tmp_path / "plan.yaml", removals)

    apply_plan(folder, plan, tmp_path / "cut")

    cut = load_model(tmp_path / "cut")
    assert count_parameters(cut) == subject.structure.parameters - removed
    fresh = some_windows(seed=1)
    with torch.no_grad():
        found = cut(input_ids=torch.stack(fresh.rows)).logits
    torch.testing.assert_close(found, logits_of(subject, fresh))
