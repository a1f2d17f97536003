"""`gp apply` with what may follow a cut."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import gp, refused
from cutting import write_removals

from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.artifacts.results.finetuning import read_finetune_record
from globalprune.models.loading import load_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import ApplyOptions
from globalprune.pipeline.apply import run_identity
from globalprune.progress import silent

Tiny = Callable[[str], Path]
OTHER_SEED = CompensationRequest(seed=1)
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
    run = read_finetune_record(out / "globalprune" / "recovery.json").runs[0]

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


def test_what_lies_beside_the_result_is_left_alone(tiny: Tiny, plan: Path, tmp_path: Path) -> None:
    """A person's folder of that name, and a run of gp finetune that was stopped."""
    other = tmp_path / "out.unfinished" / "thesis.txt"
    other.parent.mkdir()
    other.write_text("mine")
    done = gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out")

    assert done.code == 0
    assert other.read_text() == "mine"
    words = ("--finetune", "lora", *LEARN, "--overwrite")
    again = gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out", *words)
    refused(again, r"out\.unfinished: is in the way and holds no unfinished run; move it")
    assert other.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--finetune", "bogus"), r"bogus: is no way to finetune"),
        (("--finetune", "lora", "--finetune-data", "no.txt"), r"no\.txt: there is no such file"),
        (("--eval", "no.txt"), r"no\.txt: there is no such file"),
        (("--resume",), r"--resume: a cut alone keeps nothing to resume"),
        (("--finetune", "lora", "--device", "cuda:1"), r"--device cuda:1: finetuning takes cpu or"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("explain", [(), ("--explain",)], ids=["run", "explained"])
def test_explain_refuses_what_the_run_would(
    tiny: Tiny, plan: Path, tmp_path: Path, words: tuple[str, ...], text: str, explain: tuple[str]
) -> None:
    """Whatever the later phases would find, before the first of them."""
    out = tmp_path / "out"
    refused(gp("apply", tiny("llama"), "--plan", plan, "-o", out, *words, *explain), text)
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml"}


def test_a_rate_that_ruins_the_model_is_not_called_done(
    tiny: Tiny, plan: Path, tmp_path: Path
) -> None:
    """A loss that is not finite stops the run with its step; no weights are written."""
    words = ("--finetune", "full", *LEARN, "--finetune-lr", 1e15)
    done = gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out", *words)

    refused(done, r"finetuning: the loss of step \d+ is (nan|inf); say a smaller --lr|not finite")
    assert not (tmp_path / "out").exists()


def test_all_that_decides_what_comes_out_is_in_its_identity(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """A sweep keys its points by it, and gp apply and gp prune resume by it."""
    model = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))

    def identity(**options: Any) -> dict[str, Any]:
        return run_identity(PreparedModel(model), ApplyOptions(**options), silent)

    found = [identity(), identity(dtype="bfloat16"), identity(compensation=OTHER_SEED)]
    assert identity(overwrite=True) == found[0]
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(content | {"more": 1}))
        found.append(identity())
    assert len({json.dumps(each) for each in found}) == len(found)
