"""What tells one cut from another."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import gp, refused
from compensating import ids_file

from globalprune.artifacts.analyses.analysis import read_analysis_record
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.pipeline.options import PRESETS, Cutting, preset_named
from globalprune.pipeline.preflight import text_digests


def test_all_that_decides_what_comes_out_is_in_its_identity(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """A sweep keys its points by it, and gp apply and gp prune resume by it."""
    model = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    cutting = Cutting(str(model), tmp_path / "out")
    found = [
        cutting.identity(),
        replace(cutting, dtype="bfloat16").identity(),
        replace(cutting, compensation=CompensationRequest(seed=1)).identity(),
    ]
    assert replace(cutting, out=tmp_path / "other").identity() == found[0]
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(content | {"more": 1}))
        found.append(cutting.identity())
    assert len({json.dumps(each) for each in found}) == len(found)


def test_texts_are_known_by_what_their_files_hold(tmp_path: Path) -> None:
    """Those from elsewhere by their names alone; a weight is no part of the text."""
    text = tmp_path / "text.txt"
    text.write_text("one")
    before = text_digests([str(text), f"{text}@0.5", "builtin", None])
    text.write_text("two")
    after = text_digests([str(text), "builtin"])
    assert before[str(text)] == before[f"{text}@0.5"] != after[str(text)]
    assert (before["builtin"], after["builtin"]) == (None, None)


Tiny = Callable[[str], Path]


def test_what_a_person_says_goes_before_the_preset() -> None:
    """And only that."""
    chosen = preset_named("best", rounds=2, compensate=False)
    assert (chosen.importance, chosen.rounds, chosen.compensate) == ("obs_measured", 2, False)
    assert preset_named("fast") == PRESETS["fast"]


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
    """First-order Taylor, and nothing is solved anew."""
    data = ids_file(tmp_path / "text")
    out = tmp_path / "out"
    done = gp(
        "prune", tiny("llama"), "--ratio", 0.2, "-o", out, "--data", data,
        "--preset", "founding", "--json",
    )  # fmt: skip
    assert done.json["repaired_modules"] is None
    assert read_analysis_record(out / "globalprune" / "analysis.json").methods == ("taylor",)
    assert not (out / "globalprune" / "compensation.json").exists()
