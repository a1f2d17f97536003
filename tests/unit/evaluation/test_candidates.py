"""Models that are found, and refused, before anything is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from measuring import described

from globalprune.errors import CheckpointError
from globalprune.evaluation.candidates import open_candidate
from globalprune.models.prepared_model import PreparedModel
from globalprune.progress import silent

Tiny = Callable[[str], Path]


def test_a_config_without_a_vocabulary_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Ids could not be checked against it."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"model: its config has no vocab_size; is it a lang"):
        open_candidate(PreparedModel(folder))


def test_a_copy_is_the_same_model(tiny: Tiny, tmp_path: Path) -> None:
    """Wherever it lies; a tokenizer of other words makes it another."""
    first = open_candidate(PreparedModel(tiny("llama")), identifying=silent)
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "copy"))
    second = open_candidate(PreparedModel(folder), identifying=silent)
    assert (first.model.weights(), first.identity) == (second.model.weights(), second.identity)
    assert (first.model.vocab_size, first.max_positions) == (260, 256)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("<unk>", "<gap>"))
    assert open_candidate(PreparedModel(folder), identifying=silent).identity != first.identity
    assert described(folder)[1].parameters > 0
