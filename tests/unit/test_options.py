"""What the options of a phase refuse, and what a preset of gp prune stands for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import gp, refused
from compensating import ids_file

from globalprune.artifacts.analyses.analysis import read_analysis_record
from globalprune.artifacts.evaluations.evaluation import SpeedSettings
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import UsageError
from globalprune.options import PRESETS, EvaluateOptions, MeasureOptions, PruneOptions

Tiny = Callable[[str], Path]


def test_what_a_person_says_goes_before_the_preset() -> None:
    """And only that."""
    chosen = PruneOptions(0.2, preset="best", rounds=2, compensate=False).recipe
    assert (chosen.importance, chosen.rounds, chosen.compensate) == ("obs_measured", 2, False)
    assert PruneOptions(0.2).recipe == PRESETS["fast"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("--preset", "slow"), "--preset slow: is not known; there are founding, fast, best."),
        (("--rounds", 0), "--rounds 0: must be at least 1."),
    ],
    ids=["preset", "rounds"],
)
def test_what_there_is_not_is_refused(
    tiny: Tiny, tmp_path: Path, said: tuple[str, ...], told: str
) -> None:
    """Before anything is read."""
    done = gp("prune", tiny("llama"), "--ratio", 0.2, "-o", tmp_path / "o", *said)
    refused(done, told)


def test_rounds_are_nested_and_left_behind(tiny: Tiny, tmp_path: Path) -> None:
    """Each measures what the plan before it leaves, and none gives a group back."""
    data = ids_file(tmp_path / "text")
    done = gp(
        "prune", tiny("llama"), "--ratio", 0.3, "-o", tmp_path / "out", "--data", data,
        "--preset", "best", "--rounds", 3,
    )  # fmt: skip
    assert done.code == 0, done.err
    own = tmp_path / "out" / "globalprune"
    folders = [own / "rounds" / "01", own / "rounds" / "02", own]
    plans = [read_plan(folder / "plan.yaml") for folder in folders]
    for before, after, folder in zip(plans, plans[1:], folders[1:], strict=False):
        given = read_analysis_record(folder / "analysis.json").given
        assert given is not None
        assert given.plan == before.decisions_digest()
        for layer, cuts in before.layers.items():
            for kind, count in (("attention", 3), ("mlp", 24)):
                gone, more = (
                    set(plan.of(kind).resolved(count).to_array())  # type: ignore[arg-type]
                    for plan in (cuts, after.layers[layer])
                )
                assert gone <= more
    assert [plan.target.ratio for plan in plans if plan.target] == pytest.approx([0.1, 0.2, 0.3])
    assert read_analysis_record(own / "rounds" / "01" / "analysis.json").given is None


def test_the_founding_preset_is_the_founding_recipe(tiny: Tiny, tmp_path: Path) -> None:
    """First-order Taylor, and nothing is compensated."""
    data = ids_file(tmp_path / "text")
    out = tmp_path / "out"
    done = gp(
        "prune", tiny("llama"), "--ratio", 0.2, "-o", out, "--data", data,
        "--preset", "founding", "--json",
    )  # fmt: skip
    assert done.json["repaired_modules"] is None
    assert read_analysis_record(out / "globalprune" / "analysis.json").methods == ("taylor",)
    assert not (out / "globalprune" / "compensation.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0: must be at least 1."),
        ({"context": 0}, "--context 0: must be at least 1."),
        ({"tokens": 0}, "--tokens 0: must be at least 1."),
        ({"points": 1}, "--points 1: must be at least 2."),
        ({"rounds": 0}, "--rounds 0: must be at least 1."),
    ],
    ids=str,
)
def test_a_number_that_is_too_small_is_refused(changes: dict[str, Any], message: str) -> None:
    """By the option that a person can change; one more is enough."""
    with pytest.raises(UsageError) as refused:
        MeasureOptions(**changes).check()
    assert str(refused.value) == message
    MeasureOptions(**{name: value + 1 for name, value in changes.items()}).check()


def test_a_sequence_ends_behind_its_context_the_warm_up_and_its_tokens() -> None:
    """As many positions must exist."""
    assert MeasureOptions(context=20, tokens=3).positions == 24


def test_the_record_holds_what_was_asked_and_the_speed_that_was_measured() -> None:
    """A short text or little memory changes how speed is measured."""
    options = EvaluateOptions("text", seq_len=8, stride=9, samples=7, batch_size=6, dtype="f")
    followed = SpeedSettings(prompt_tokens=2)

    assert options.record(followed).model_dump() == {
        "seq_len": 8,
        "stride": 9,
        "samples": 7,
        "batch_size": 6,
        "dtype": "f",
        "tasks": None,
        "speed": followed.model_dump(),
    }
