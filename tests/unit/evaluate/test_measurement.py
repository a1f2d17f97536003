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

from globalprune.errors import CheckpointError
from globalprune.evaluate.measurement import Question, find_candidate, measure
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
    }
    return Question(**(asked | changes))


@pytest.mark.parametrize("family", ["llama", "llama_tied_bias"])
def test_the_figures_are_the_models(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """Perplexity by the given windows, parameters once, bytes as they lie on the disk."""
    folder = tiny(family)
    result, text = measure(find_candidate(str(folder)), question(write_rows(tmp_path / "t.jsonl")))
    judged = perplexity(loaded(folder), windows_of(list(random_ids(3, 12))))
    assert result.perplexity == pytest.approx(judged.value, rel=1e-6)
    assert result.perplexity == math.exp(result.nll_sum / result.predicted_tokens)
    assert result.predicted_tokens == 3 * 11
    assert result.parameters == described(folder)[1].parameters
    assert result.file_bytes == (folder / "model.safetensors").stat().st_size
    assert result.file_bytes > 4 * result.parameters
    assert result.tokens_per_second > 0
    assert (result.source, result.dtype, result.warnings) == (str(folder), "float32", ())
    assert (text.tokens, text.digest) == (36, result.windows)


def test_the_asked_dtype_is_the_one_that_is_measured(tiny: Tiny, tmp_path: Path) -> None:
    """It is recorded as it was, since it moves the figure."""
    data = write_rows(tmp_path / "t.jsonl")
    half, _ = measure(
        find_candidate(str(tiny("llama"))),
        question(data, placement=Placement("cpu", torch.bfloat16)),
    )
    whole = perplexity(loaded(tiny("llama")), windows_of(list(random_ids(3, 12))))
    assert half.dtype == "bfloat16"
    assert half.nll_sum != whole.nll_sum
    assert half.nll_sum == pytest.approx(whole.nll_sum, rel=0.05)


@pytest.mark.parametrize("length", [256, 257])
def test_windows_that_the_model_was_not_made_for_are_told(
    tiny: Tiny, tmp_path: Path, length: int
) -> None:
    """256 positions is what the tiny models know; one more is worth a word."""
    rows = [row.tolist() for row in random_ids(1, length)]
    data = write_rows(tmp_path / "t.jsonl", rows)
    result, _ = measure(find_candidate(str(tiny("llama"))), question(data))
    told = [warning.partition(" that")[0] for warning in result.warnings]
    text = "windows of 257 tokens are longer than the 256 positions"
    assert told == ([text] if length == 257 else [])


def test_a_text_that_the_cut_was_made_by_is_told(tiny: Tiny, tmp_path: Path) -> None:
    """By the digests of its rows, which the evaluation's own record names."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "cut"))
    data = write_rows(tmp_path / "t.jsonl")
    _, text = measure(find_candidate(str(folder)), question(data, samples=1))
    structure = described(folder)[1]
    write_record(folder / "globalprune", structure, table="sha256:t", digests=text.document_digests)
    result, _ = measure(find_candidate(str(folder)), question(data))
    [warning] = result.warnings
    assert warning.startswith("1 of 3 evaluation documents was seen in calibration")


def test_a_config_without_a_vocabulary_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Ids could not be checked against it."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"model: its config has no vocab_size; is it a lang"):
        find_candidate(str(folder))
