"""gp eval from the command line: its files, its resuming, and what it refuses."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from applying import applied
from command_line import Said, files_below, gp, refused
from task_files import QUESTIONS, write_task

from globalprune.artifacts.evaluations.evaluation_table import read_evaluation

Tiny = Callable[[str], Path]
SHORT = ("--samples", 4, "--seq-len", 32)
WRITTEN = {"evaluation.json", "evaluation.csv", "evaluation.md", "parts"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what `datasets` makes of questions out of the machine's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cut(tiny: Tiny, tmp_path: Path) -> str:
    """A model of uneven layers."""
    return applied(tiny("llama"), tmp_path, {0: {"attention": [0, 1, 2, 3]}, 2: {"mlp": [1]}}).out


def judge(*words: Any) -> Said:
    """Run gp eval, which must succeed."""
    done = gp("eval", *words, *SHORT)
    assert done.code == 0, done.err
    return done


def test_a_table_and_three_files(tiny: Tiny, cut: str, tmp_path: Path) -> None:
    """Models side by side, and the same figures for programs, spreadsheets and pages."""
    out = tmp_path / "judged"
    done = judge(tiny("llama"), cut, "--tasks", write_task(tmp_path), "-o", out)
    found = read_evaluation(out / "evaluation.json")
    assert {path.name for path in out.iterdir()} == WRITTEN
    assert [model.source for model in found.models] == [str(tiny("llama")), cut]
    for name in ("perplexity", "counting acc_norm", "decode, tokens/s", "KV cache per token"):
        assert f"\n {name} " in done.out
        assert f"| {name} |" in (out / "evaluation.md").read_text("utf-8")
    rows = list(csv.DictReader((out / "evaluation.csv").read_text("utf-8").splitlines()))
    [accuracy] = [row for row in rows if (row["model"], row["metric"]) == (cut, "counting acc")]
    assert float(accuracy["value"]) == found.models[1].tasks["counting"].metrics["acc"].value
    assert accuracy["difference_is"] == "absolute, paired"
    assert found.models[0].tasks["counting"].documents == QUESTIONS
    assert found.versions["lm_eval"]
    assert found.command[:2] == ("gp", "eval")


def test_json_is_alone_on_stdout(tiny: Tiny, tmp_path: Path) -> None:
    """One document, whatever lm-eval would like to print."""
    done = judge(tiny("llama"), "--tasks", write_task(tmp_path), "--no-speed", "--json")
    [model] = done.json["models"]
    assert (model["speed"], done.json["settings"]["speed"]) == (None, None)
    assert model["tasks"]["counting"]["metrics"]["acc"]["value"] is not None


def test_a_run_that_was_cut_short_goes_on(
    tiny: Tiny, cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured is not measured again, and the end is as if nothing had happened."""
    words = (tiny("llama"), cut, "--tasks", write_task(tmp_path), "--no-speed", "-o")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    judge(*words, whole)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("globalprune.evaluation.perplexity.answer_tasks", die)
        assert gp("eval", *words, broken, *SHORT).code == 130
    assert [path.name[:5] for path in (broken / "parts").iterdir()] == ["text-"]
    said = judge(*words, broken).err
    assert f"{tiny('llama')}: text taken from {broken}/parts" in said
    assert f"{cut}: " not in said
    first, second = (read_evaluation(folder / "evaluation.json") for folder in (whole, broken))
    for one, other in zip(first.models, second.models, strict=True):
        assert one.perplexity == other.perplexity
        assert one.tasks == other.tasks
    assert second.models[0].from_earlier_run == ("text",)


def test_another_text_in_the_same_file_is_read_again(tiny: Tiny, tmp_path: Path) -> None:
    """Parts go by what was read, not by the name that it was read under."""
    text, out = tmp_path / "a.txt", tmp_path / "judged"
    found = []
    for word in ("one ", "two "):
        text.write_text(word * 99)
        judge(tiny("llama"), "--data", text, "--no-speed", "-o", out)
        found.append(read_evaluation(out / "evaluation.json").models[0])
    assert found[1].from_earlier_run == ()
    assert found[0].perplexity.nll_sum != found[1].perplexity.nll_sum


def test_a_strangers_folder_is_never_written_into(tiny: Tiny, tmp_path: Path) -> None:
    """Nor the model's own."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    before = files_below(tmp_path)
    model = tiny("llama")
    refused(gp("eval", model, "-o", tmp_path / "notes"), "holds nothing that globalprune wrote")
    refused(gp("eval", model, "-o", model / "judged"), "lies inside the model's folder")
    assert files_below(tmp_path) == before


WORDS = {
    "how without what": (
        ("--limit", "3"),
        "--limit: says how tasks are run, and none is named; add",
    ),
    "template": (("--apply-chat-template",), "--apply-chat-template: says how tasks are run"),
    "no file": (("--tasks", "./gone.yaml"), r"--tasks \./gone\.yaml: there is no such file"),
    "no folder": (("--tasks", "a", "--tasks-path", "gone"), "--tasks-path gone: there is no such"),
}


@pytest.mark.parametrize("name", WORDS)
def test_words_that_cannot_be_meant(tiny: Tiny, name: str) -> None:
    """They are answered before a model is loaded."""
    words, message = WORDS[name]
    refused(gp("eval", tiny("llama"), *words), message)


def test_figures_are_readable_json_parts(tiny: Tiny, tmp_path: Path) -> None:
    """A person who looks into a part sees of which model, and by what it goes."""
    judge(tiny("llama"), "--no-speed", "-o", tmp_path / "judged")
    [part] = (tmp_path / "judged" / "parts").iterdir()
    content = json.loads(part.read_text("utf-8"))
    assert content["source"] == str(tiny("llama"))
    assert content["key"]["versions"].keys() >= {"globalprune", "torch", "transformers"}
