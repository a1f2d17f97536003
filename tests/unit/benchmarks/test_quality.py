"""The command: one item for real, and what is written of all."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import quality
import typer
from contest import one_item
from contest.part import Part
from contest.question import Item, inputs_of, job_of
from contest_parts import part_of, question_of
from text_files import numbered_text
from typer.testing import CliRunner

import globalprune
from globalprune.options import EvaluateOptions

Tiny = Callable[[str], Path]


def measured(folder: Path, work: Path, recipe: str) -> Part:
    """One item in this process, judged by text that lies in the work folder."""
    text = work / "text.txt"
    text.write_text(numbered_text(300), encoding="utf-8")
    question = question_of(folder, seq_len=24, data=str(text), judge=str(text), foreign=str(text))
    item = Item(recipe=recipe, ratio=0.0 if recipe == "dense" else 0.1, seed=0)
    return one_item.measure(job_of(question, item, inputs_of(question), work))


@pytest.mark.parametrize("recipe", ["dense", "obs_sequential_ls"])
def test_an_item_is_pruned_and_judged(tiny: Tiny, tmp_path: Path, recipe: str) -> None:
    """Its part holds exact parameters, a cost, and every text's windows."""
    part = measured(tiny("qwen3"), tmp_path, recipe)

    pruned = recipe != "dense"
    assert part.parameters == 44_640
    assert (part.removed >= 4464) == pruned
    assert (part.peak_bytes > 0) == pruned
    assert {name: len(text.nll) for name, text in part.texts.items()} == {
        "strided": 3, "other": 4, "foreign": 4,
    }  # fmt: skip
    assert not (tmp_path / "scratch" / part.item.name).exists()


def test_the_dense_models_figure_is_that_of_gp_eval(tiny: Tiny, tmp_path: Path) -> None:
    """The strided text is `gp eval --stride`'s, to the last digit."""
    part = measured(tiny("llama"), tmp_path, "dense")
    text = str(tmp_path / "text.txt")
    options = EvaluateOptions(text, seq_len=16, stride=100, samples=3, speed=None)

    judged = globalprune.evaluate([tiny("llama")], options).models[0]

    assert part.texts["strided"].nll == judged.perplexity.window_nll


@pytest.mark.slow
def test_a_whole_run_and_its_resumption(tiny: Tiny, tmp_path: Path) -> None:
    """Processes, commands of ours and tables for real; a second run measures nothing."""
    text = tmp_path / "text.txt"
    text.write_text(numbered_text(600), encoding="utf-8")
    words = [str(tiny("qwen2")), str(tmp_path / "work"), "--data", str(text), "--judge", str(text)]
    words += ["--foreign", str(text), "--ratio", "0.1", "--samples", "4", "--seq-len", "24"]
    words += ["--eval-seq-len", "24", "--stride", "100", "--strided", "3", "--others", "4"]
    for recipe in ("prune:founding", "global_taylor"):
        words += ["--recipe", recipe]
    command = [sys.executable, quality.__file__, *words]

    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)
    )

    assert first.stderr.count("from an earlier run") == 0
    assert second.stderr.count("from an earlier run") == 3
    assert second.stdout == first.stdout
    lines = [line.split("|") for line in first.stdout.splitlines() if line.startswith("| ")]
    prune, steps = (
        [line[2] for line in lines if line[1].strip() == name]
        for name in ("prune:founding", "global_taylor")
    )
    assert len(prune) >= 3
    assert prune[:3] == steps[:3]  # one command is the three of them


def quality_with(
    monkeypatch: pytest.MonkeyPatch, parts: list[Part], *words: str
) -> tuple[int, str]:
    """Run the command with these parts for an outcome; its code and all that it said."""
    monkeypatch.setattr(quality, "run_items", lambda *_: parts)
    app = typer.Typer()
    app.command()(quality.main)
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_tables_and_figures_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """quality.md for people and quality.json for programs, from the same parts."""
    words = ("m", str(tmp_path), "--data", "v.txt", "--judge", "t.txt", "--recipe", "flap")
    parts = [part_of("dense"), part_of("flap")]

    code, said = quality_with(monkeypatch, parts, *words)

    assert code == 0
    page = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert page.strip() in said
    assert "128 windows of 256 tokens of `v.txt`" in page
    document = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert [Part.model_validate(part) for part in document["parts"]] == parts
    assert {"torch", "optipfair", "torch-pruning"} <= set(document["versions"])


def test_a_failed_item_makes_the_exit_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of the others are there, and the page names the failure."""
    words = ("m", str(tmp_path), "--data", "v.txt", "--judge", "v.txt")
    parts = [part_of("dense"), part_of("flap", error="exit code 1\nMemoryError")]

    code, said = quality_with(monkeypatch, parts, *words)

    assert code == 1
    assert "- flap, ratio 0.2, seed 0: failed: MemoryError" in said
    assert "warning: judged by the calibration text itself" in said


def test_a_typo_is_told_before_hours_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the names that there are."""
    words = ("m", str(tmp_path), "--data", "v", "--judge", "t", "--recipe", "flop")

    code, said = quality_with(monkeypatch, [], *words)

    assert code == 2
    assert "no recipe is called flop" in said
    assert not list(tmp_path.iterdir())
