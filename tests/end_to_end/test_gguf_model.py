"""A quantised GGUF file as MODEL: every command says so, and so does what it leaves behind."""

import json
from pathlib import Path

import pytest
from command_line import gp, refused
from cutting import write_removals
from gguf_files import save_pair
from text_files import numbered_text

NOTE = "is a Q8_0 quantisation: whatever is measured or made here is of its dequantised weights"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantised model; only read."""
    return save_pair(tmp_path_factory.mktemp("gguf") / "model", "llama", "q8_0")[1]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Words and numbers."""
    path = tmp_path / "text.txt"
    path.write_text(numbered_text(2000), "utf-8")
    return path


def test_an_analysis_tells_of_the_quantisation(file: Path, text: Path, tmp_path: Path) -> None:
    """On stderr, and among the record's warnings."""
    out = tmp_path / "analysis"
    done = gp(
        "analyze", file, "-o", out, "--data", text, "--samples", 4, "--seq-len", 16, "--ratio", 0.1
    )
    assert done.code == 0, done.err
    assert NOTE in done.err
    assert NOTE in json.loads((out / "analysis.json").read_text("utf-8"))["warnings"][0]


def test_a_result_tells_of_the_quantisation(file: Path, tmp_path: Path) -> None:
    """On stderr, in metrics.json and in the card."""
    plan, out = write_removals(tmp_path / "plan.yaml", {1: {"mlp": range(9)}}), tmp_path / "out"
    done = gp("apply", file, "--plan", plan, "-o", out)
    assert done.code == 0, done.err
    assert done.err.count(NOTE) == 1
    metrics = json.loads((out / "globalprune" / "metrics.json").read_text("utf-8"))
    assert metrics["model"]["quantisation"] == "Q8_0"
    assert "The base was a Q8_0 quantisation." in (out / "README.md").read_text("utf-8")


def test_a_judgement_tells_of_the_quantisation(file: Path, text: Path) -> None:
    """The figures are those of the dequantised model."""
    done = gp("eval", file, "--data", text, "--seq-len", 16, "--samples", 4, "--no-speed")
    assert done.code == 0, done.err
    assert NOTE in done.err


def test_what_another_program_must_do_is_refused(file: Path, tmp_path: Path) -> None:
    """A GGUF file is no folder to be exported or finetuned."""
    refused(gp("export", file, "--to", "gguf", "-o", tmp_path / "x.gguf"), "is a GGUF file already")
    refused(gp("finetune", file, "-o", tmp_path / "tuned", "--data", "builtin"), "can't be trained")
