"""Nano models learn, are opened as any checkpoint, and hold out what they are judged by."""

import json
from pathlib import Path

import pytest
from nano import SHAPES, Training, file_documents, make_nano, python_documents, split_texts

from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model

TINY = {"vocab_size": 320, "hidden_size": 48, "intermediate_size": 48, "head_dim": 8}
STEPS = Training(steps=12, batch=4, length=32, learning_rate=1e-2, warmup=2)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_nano_model_learns_and_opens_as_any_checkpoint(shape: str, tmp_path: Path) -> None:
    """Its record says what it was trained on; what judges it is no part of that."""
    data = tmp_path / "text.txt"
    data.write_text("the cat sat on the mat, and the dog saw the cat. " * 800, encoding="utf-8")
    texts = split_texts(list(file_documents([data], characters=500)), seed=1)

    record = make_nano(shape, tmp_path / "out", texts, STEPS, **TINY)

    checkpoint = open_checkpoint(resolve_model(str(tmp_path / "out" / "model")))
    structure = adapter_for(checkpoint.config).structure(checkpoint)
    assert structure.parameters == record["parameters"]
    assert record["heldout_nats"] < 4.5  # of 320 tokens: 5.77 nats if all are alike
    assert json.loads((tmp_path / "out" / "nano.json").read_text("utf-8")) == json.loads(
        json.dumps(record)
    )
    assert record["text"]["heldout"]["documents"] == len(texts.heldout) == 4
    assert (tmp_path / "out" / "heldout.txt").read_text("utf-8") == "\n\n".join(texts.heldout)


def test_what_is_held_out_is_drawn_by_the_seed() -> None:
    """Every document lies in one part, of what every Python carries too."""
    documents = [f"document {number}" for number in range(100)]

    texts = split_texts(documents, seed=0)

    assert sorted(texts.training + texts.calibration + texts.heldout) == sorted(documents)
    assert (len(texts.calibration), len(texts.heldout)) == (5, 5)
    assert texts == split_texts(documents, seed=0) != split_texts(documents, seed=1)
    assert sum(map(len, python_documents())) > 5_000_000
