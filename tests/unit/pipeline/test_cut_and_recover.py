"""`gp apply` with what may follow a cut."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import gp, refused
from cutting import write_removals

from globalprune.artifacts.recovery_record import read_recovery
from globalprune.models.loading import load_model

Tiny = Callable[[str], Path]
LEARN = ("--finetune-data", "builtin", "--finetune-samples", 8, "--finetune-seq-len", 24)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan that leaves layers of different sizes."""
    return write_removals(tmp_path / "plan.yaml", {0: {"attention": [0]}, 2: {"mlp": range(24)}})


def test_a_cut_alone_leaves_one_folder(tiny: Tiny, plan: Path, tmp_path: Path) -> None:
    """No record of phases that didn't run."""
    done = gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out", "--json")

    assert (done.json["recovery"], done.json["evaluation"]) == (None, None)
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml", "out"}
    assert not (tmp_path / "out/globalprune/recovery.json").exists()


@pytest.mark.parametrize("recipe", ["lora", "full"])
def test_a_cut_model_is_finetuned_where_it_goes(
    tiny: Tiny, plan: Path, tmp_path: Path, recipe: str
) -> None:
    """The result has the cut's shapes and the training's weights, and says both."""
    out = tmp_path / "out"
    done = gp(
        "apply", tiny("llama"), "--plan", plan, "-o", out, "--finetune", recipe, *LEARN, "--json"
    )
    gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "cut")
    run = read_recovery(out / "globalprune" / "recovery.json").runs[0]

    assert done.code == 0, done.err
    assert done.json["out"] == str(out)
    assert done.json["recovery"]["settings"]["method"] == recipe
    assert run.model.weights == done.json["weights"]
    tuned, cut = load_model(out).state_dict(), load_model(tmp_path / "cut").state_dict()
    assert {k: v.shape for k, v in tuned.items()} == {k: v.shape for k, v in cut.items()}
    assert any((tuned[name] != cut[name]).any() for name in cut)


def test_the_teacher_is_the_model_before_the_cut(tiny: Tiny, plan: Path, tmp_path: Path) -> None:
    """--distil needs no name."""
    out, words = tmp_path / "out", ("--finetune", "lora", *LEARN, "--distil")
    done = gp("apply", tiny("llama"), "--plan", plan, "-o", out, *words, "--json")

    assert done.json["recovery"]["teacher"]["source"] == str(tiny("llama"))


def test_text_that_cannot_be_learned_leaves_no_result(
    tiny: Tiny, plan: Path, tmp_path: Path
) -> None:
    """The cut is not kept as if it were what was asked for."""
    out = tmp_path / "out"
    words = ("--finetune", "lora", "--finetune-data", tmp_path / "none.txt")
    refused(gp("apply", tiny("llama"), "--plan", plan, "-o", out, *words), "no such file or folder")
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml"}
