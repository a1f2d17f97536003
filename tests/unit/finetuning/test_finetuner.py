"""A whole finetuning: what it leaves and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_finetunings import finetuned, losses, recorded, small

from globalprune.artifacts.results.finetuning import DistillationSettings
from globalprune.errors import UsageError
from globalprune.finetuning.finetuner import finetune_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import FinetuneOptions

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def twice(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a model that was finetuned, one, and one finetuned from it, two."""
    folder = tmp_path_factory.mktemp("twice")
    finetuned(tiny("llama"), folder / "one", small(samples=24), command=("gp", "finetune", "one"))
    finetuned(folder / "one", folder / "two", small(lora=None), command=("gp", "finetune", "two"))
    return folder


def test_the_loss_curve_has_every_step(twice: Path) -> None:
    """It begins with the loss before any step; the record's ends are those of the curve."""
    (run,) = recorded(twice / "one")["runs"]
    found = losses(twice / "one")
    head = (twice / "one" / "globalprune" / "loss.csv").read_text().splitlines()
    assert head[0] == "step,loss,learning_rate,grad_norm"
    assert [line.partition(",")[0] for line in head[1:]] == [str(step) for step in range(1, 7)]
    assert (run["steps"], run["first_loss"], run["last_loss"]) == (6, found[0], found[-1])
    assert found[-1] < found[0]


def test_finetuning_again_keeps_the_runs_before(twice: Path) -> None:
    """In order, each with what went in: the second began with what the first wrote."""
    first, second = recorded(twice / "two")["runs"]
    assert [first] == recorded(twice / "one")["runs"]
    assert (first["command"][-1], second["command"][-1]) == ("one", "two")
    assert second["model"]["weights"] == first["weights"] != second["weights"]
    assert second["settings"]["method"] == "full"


def test_the_record_repeats_the_run(twice: Path) -> None:
    """Model, text, settings and what they came to."""
    (run,) = recorded(twice / "one")["runs"]
    assert run["settings"] == small(samples=24).model_dump(mode="json")
    (part,) = run["data"]
    assert (part["weight"], part["is_chat"]) == (1.0, False)
    assert (part["text"]["samples"], part["text"]["seq_len"]) == (24, 16)
    assert run["learned_tokens"] == 24 * 15
    assert {"peft", "torch", "transformers"} <= run["versions"].keys()
    assert (run["device"], run["processes"], run["resumed_at"]) == ("cpu", 1, None)


def test_what_lies_in_out_is_kept_unless_it_may_be_replaced(tiny: Tiny, twice: Path) -> None:
    """And the model itself never is."""
    with pytest.raises(UsageError, match="is not empty; choose another folder or say --overwrite"):
        finetuned(tiny("llama"), twice / "one")
    with pytest.raises(UsageError, match="is the model itself; choose another folder with -o"):
        finetuned(twice / "one", twice / "one", overwrite=True)


def test_a_result_is_replaced_by_overwriting(tiny: Tiny, tmp_path: Path) -> None:
    """Whole, with a record of the new run alone."""
    for seed in (0, 1):
        finetuned(tiny("llama"), tmp_path / "out", small(seed=seed), overwrite=True)
    (run,) = recorded(tmp_path / "out")["runs"]
    assert run["settings"]["seed"] == 1


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (small(lora=None), {"keep_adapter": True}, "--keep-adapter: full finetuning makes no adap"),
        (
            small(distillation=DistillationSettings()),
            {},
            "--teacher: a teacher and distillation settings go together",
        ),
        (
            small(),
            {"teacher": "somewhere"},
            "--teacher: a teacher and distillation settings go together",
        ),
    ],
    ids=["an adapter of all weights", "no teacher", "no recipe"],
)
def test_what_excludes_each_other_is_refused(
    tmp_path: Path, settings: Any, options: dict[str, Any], message: str
) -> None:
    """Before the model is even looked for."""
    with pytest.raises(UsageError, match=message):
        finetune_model(
            PreparedModel("./no-such-model"), tmp_path / "out", FinetuneOptions(settings, **options)
        )
