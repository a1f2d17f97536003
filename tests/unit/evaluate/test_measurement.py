"""One model, found before it is loaded and measured as any other."""

import gc
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import write_record
from measuring import described, loaded, windows_of
from tiny_models import random_ids

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.artifacts.run_folder import RunFolder
from globalprune.evaluate.candidates import find_candidate
from globalprune.evaluate.measurement import Question, cut_windows, measure
from globalprune.evaluate.perplexity import perplexity
from globalprune.models.placement import Placement
from globalprune.progress import silent

Tiny = Callable[[str], Path]
ROWS = [row.tolist() for row in random_ids(3, 12)]


@pytest.fixture(autouse=True)
def _young_objects_only() -> Iterator[None]:
    """Spare each measurement's garbage collection the walk through all imported libraries."""
    gc.freeze()
    yield
    gc.unfreeze()


def write_rows(path: Path, rows: list[list[int]] = ROWS) -> Path:
    """Write windows of ids as a file of text would be given."""
    path.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
    return path


def question(data: Path, **changes: Any) -> Question:
    """What a model is asked about a text."""
    asked: dict[str, Any] = {
        "data": str(data),
        "seq_len": None,
        "stride": None,
        "samples": None,
        "batch_size": 2,
        "placement": Placement("cpu", None),
        "trust_remote_code": False,
        "progress": silent,
        "tasks": None,
        "versions": {"torch": "1"},
    }
    return Question(**(asked | changes))


def judge(
    folder: Path, asked: Question, parts: Path | None = None
) -> tuple[ModelResult, TextRecord]:
    """One model's figures, and the text that it was judged by."""
    candidate = find_candidate(str(folder), reading=silent)
    windows = cut_windows(candidate, asked)
    return measure(candidate, windows, asked, RunFolder(parts)), windows.record


@pytest.mark.parametrize("family", ["llama", "llama_tied_bias"])
def test_the_figures_are_the_models(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """Perplexity by the given windows, parameters once, bytes as they lie on the disk."""
    folder = tiny(family)
    result, text = judge(folder, question(write_rows(tmp_path / "t.jsonl")))
    judged = perplexity(loaded(folder), windows_of(list(random_ids(3, 12))))
    found = result.perplexity
    assert found.value == pytest.approx(judged.value, rel=1e-6)
    assert found.value == math.exp(found.nll_sum / found.predicted_tokens)
    assert found.predicted_tokens == 3 * 11
    assert result.parameters == described(folder)[1].parameters
    assert result.file_bytes == (folder / "model.safetensors").stat().st_size
    assert result.file_bytes > 4 * result.parameters
    heads = loaded(folder).config.num_key_value_heads
    assert result.kv_cache_bytes_per_token == 2 * 4 * heads * 8 * 4
    assert (result.source, result.dtype, result.warnings) == (str(folder), "float32", ())
    assert (text.tokens, text.digest) == (36, found.windows)


def test_the_asked_dtype_is_the_one_that_is_measured(tiny: Tiny, tmp_path: Path) -> None:
    """It is recorded as it was, since it moves the figure."""
    data = write_rows(tmp_path / "t.jsonl")
    half, _ = judge(tiny("llama"), question(data, placement=Placement("cpu", torch.bfloat16)))
    whole = perplexity(loaded(tiny("llama")), windows_of(list(random_ids(3, 12))))
    assert half.dtype == "bfloat16"
    assert half.perplexity.nll_sum != whole.nll_sum
    assert half.perplexity.nll_sum == pytest.approx(whole.nll_sum, rel=0.05)


@pytest.mark.parametrize("length", [256, 257])
def test_windows_that_the_model_was_not_made_for_are_told(
    tiny: Tiny, tmp_path: Path, length: int
) -> None:
    """256 positions is what the tiny models know; one more is worth a word."""
    rows = [row.tolist() for row in random_ids(1, length)]
    data = write_rows(tmp_path / "t.jsonl", rows)
    result, _ = judge(tiny("llama"), question(data))
    told = [warning.partition(" that")[0] for warning in result.warnings]
    text = "windows of 257 tokens are longer than the 256 positions"
    assert told == ([text] if length == 257 else [])


def test_a_text_that_the_cut_was_made_by_is_told(tiny: Tiny, tmp_path: Path) -> None:
    """By the digests of its rows, which the evaluation's own record names."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "cut"))
    data = write_rows(tmp_path / "t.jsonl")
    _, text = judge(folder, question(data, samples=1))
    structure = described(folder)[1]
    write_record(folder / "globalprune", structure, table="sha256:t", digests=text.document_digests)
    result, _ = judge(folder, question(data))
    [warning] = result.warnings
    assert warning.startswith("1 of 3 evaluation documents was seen in calibration")


def test_a_finished_part_is_taken_up_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last digit, and without loading the model a second time."""
    asked = question(write_rows(tmp_path / "t.jsonl"))
    first, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    [part] = (tmp_path / "parts").iterdir()
    monkeypatch.setattr("globalprune.evaluate.measurement.load_candidate", pytest.fail)
    again, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    assert again == first.model_copy(update={"from_earlier_run": ("text",)})
    assert json.loads(part.read_text())["perplexity"]["window_nll"] == list(
        first.perplexity.window_nll
    )


CHANGES: dict[str, Any] = {
    "batch size": {"batch_size": 3},
    "samples": {"samples": 2},
    "precision": {"placement": Placement("cpu", torch.bfloat16)},
    "versions": {"versions": {"torch": "2"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_question_is_asked_anew(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """A part of another question never answers this one."""
    data = write_rows(tmp_path / "t.jsonl")
    judge(tiny("llama"), question(data), tmp_path / "parts")
    found, _ = judge(tiny("llama"), question(data, **CHANGES[name]), tmp_path / "parts")
    assert found.from_earlier_run == ()


def test_another_model_is_asked_anew(tiny: Tiny, tmp_path: Path) -> None:
    """Of other weights, or of the same weights with another config."""
    asked = question(write_rows(tmp_path / "t.jsonl"))
    judge(tiny("llama"), asked, tmp_path / "parts")
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["rms_norm_eps"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    for other in (tiny("llama_one_kv"), folder):
        assert judge(other, asked, tmp_path / "parts")[0].from_earlier_run == ()
    tokens = Path(shutil.copytree(tiny("llama"), tmp_path / "tokens")) / "tokenizer_config.json"
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | {"add_prefix_space": True}))
    assert judge(tokens.parent, asked, tmp_path / "parts")[0].from_earlier_run == ()


@pytest.mark.parametrize("damage", ["", "{", '{"source": "x"}'], ids=["empty", "cut", "foreign"])
def test_a_damaged_part_is_measured_again(tiny: Tiny, tmp_path: Path, damage: str) -> None:
    """And written anew."""
    asked = question(write_rows(tmp_path / "t.jsonl"))
    first, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    [part] = (tmp_path / "parts").iterdir()
    part.write_text(damage)
    again, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    assert (again.from_earlier_run, again.perplexity) == ((), first.perplexity)
    assert json.loads(part.read_text())["source"] == str(tiny("llama"))
