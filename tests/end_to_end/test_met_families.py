"""Models of types that no table knows: proved when they are met, then served as any other."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import files_below, gp, refused
from met_models import save_met

from globalprune.models.loading import load_model

SHORT = ("--data", "builtin", "--samples", 4, "--seq-len", 32)
# without a gate, with norms that have biases; one whose attention can't go; one that fuses gate, up
TYPES: dict[str, dict[str, Any]] = {
    "nemotron": {"attention_bias": True, "mlp_bias": True},
    "helium": {},
    "glm4": {},  # with four norms, and a token for padding beyond a small vocabulary by default
}


@pytest.fixture(scope="module", params=TYPES)
def met(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model of the type, and its analysis."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save_met(folder / "model", request.param, **TYPES[request.param])
    done = gp("analyze", model, "-o", folder / "analysis", *SHORT, "--ratio", 0.2)
    assert done.code == 0, done.err
    return model, folder / "analysis"


def test_the_analysis_says_with_which_versions_its_family_was_proved(
    met: tuple[Path, Path],
) -> None:
    """And why a sublayer stays whole."""
    record = json.loads((met[1] / "analysis.json").read_text("utf-8"))
    attention = record["structure"]["layers"][0]["attention"]

    assert set(record["model"]["proved_with"]) == {"globalprune", "torch", "transformers"}
    assert ("reason" in attention) == (record["model"]["model_type"] == "helium")


@pytest.mark.parametrize("uniform", [False, True], ids=["uneven", "uniform"])
@pytest.mark.slow
def test_a_cut_is_compensated_loads_and_equals_the_mask(
    met: tuple[Path, Path], tmp_path: Path, uniform: bool
) -> None:
    """Layers that differ in size come with our class, others are read by their own."""
    model, analysis = met
    plan, cut, solved = tmp_path / "plan.yaml", tmp_path / "cut", tmp_path / "solved"
    shape = ("--uniform",) if uniform else ()
    done = gp("plan", analysis, "--ratio", 0.15, *shape, "-o", plan)
    assert done.code == 0, done.err
    assert gp("check", plan, "--model", model, "--analysis", analysis).code == 0
    assert gp("apply", model, "--plan", plan, "-o", cut).code == 0
    done = gp("apply", model, "--plan", plan, "-o", solved, "--compensate", *SHORT)
    assert done.code == 0, done.err
    done = gp("eval", model, cut, solved, "--plan", plan, *SHORT, "--json")
    assert done.code == 0, done.err
    _, of_cut, _, of_mask = (one["perplexity"]["value"] for one in done.json["models"])

    assert (cut / "modeling_globalprune.py").exists() is not uniform
    assert of_cut == pytest.approx(of_mask, rel=1e-4)
    loaded: Any = load_model(str(solved))
    ids = torch.arange(20).reshape(2, 10)
    assert loaded.generate(ids, max_new_tokens=3, do_sample=False).shape == (2, 13)


@pytest.mark.slow
def test_a_cut_model_is_analysed_again(met: tuple[Path, Path], tmp_path: Path) -> None:
    """With sublayers that are gone already."""
    model, analysis = met
    assert gp("apply", model, "--plan", analysis / "plan.yaml", "-o", tmp_path / "cut").code == 0
    done = gp("analyze", tmp_path / "cut", "-o", tmp_path / "again", *SHORT, "--ratio", 0.02)

    assert done.code == 0, done.err


def test_a_type_that_cannot_be_proved_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Exit code 2, no file, and nothing of a traceback."""
    model = save_met(tmp_path / "model", "cohere")
    before = files_below(tmp_path)
    done = gp("analyze", model, "-o", tmp_path / "out", *SHORT)

    refused(done, "'cohere', which globalprune can't cut: attention and MLP stand side by side")
    assert files_below(tmp_path) == before
