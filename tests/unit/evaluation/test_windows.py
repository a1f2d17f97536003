"""The text of an evaluation: cut once for all models of one tokenizer, anew for another."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from analysing import write_ids
from tokenizers import Tokenizer

from globalprune.errors import TextError
from globalprune.evaluation import windows
from globalprune.evaluation.windows import EvaluationText
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import EvaluateOptions

Tiny = Callable[[str], Path]


@pytest.fixture
def text(tmp_path: Path) -> EvaluationText:
    """A short text in a file."""
    (tmp_path / "judge.txt").write_text("A text to judge by, of no great length. " * 3)
    return EvaluationText(EvaluateOptions(data=str(tmp_path / "judge.txt"), seq_len=16))


def another_tokenizer(model: Path, folder: Path) -> PreparedModel:
    """The same model with two words exchanged."""
    shutil.copytree(model, folder)
    spec = json.loads(Tokenizer.from_file(str(folder / "tokenizer.json")).to_str())
    vocabulary = spec["model"]["vocab"]
    vocabulary["A"], vocabulary["z"] = vocabulary["z"], vocabulary["A"]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return PreparedModel(folder)


def test_models_of_one_tokenizer_share_the_windows(
    tiny: Tiny, tmp_path: Path, text: EvaluationText
) -> None:
    """Wherever they lie."""
    copy = Path(shutil.copytree(tiny("llama"), tmp_path / "copy"))
    first = text.windows_for(PreparedModel(tiny("llama")))
    assert text.windows_for(PreparedModel(copy)) is first


def test_another_tokenizer_cuts_for_itself(
    tiny: Tiny, tmp_path: Path, text: EvaluationText
) -> None:
    """And both are known then."""
    other = another_tokenizer(tiny("llama"), tmp_path / "other")
    first, second = (text.windows_for(one) for one in (PreparedModel(tiny("llama")), other))
    assert first.record.digest != second.record.digest
    assert text.windows_for(other) is second


def test_rows_of_ids_are_any_tokenizers(tiny: Tiny, tmp_path: Path) -> None:
    """But not any vocabulary's."""
    data = write_ids(tmp_path / "ids.jsonl")
    text = EvaluationText(EvaluateOptions(data=data))
    other = another_tokenizer(tiny("llama"), tmp_path / "other")
    first = text.windows_for(PreparedModel(tiny("llama")))
    assert text.windows_for(other) is first
    with mock.patch.object(PreparedModel, "vocab_size", 3), pytest.raises(TextError, match="vocab"):
        text.windows_for(PreparedModel(tiny("llama")))


def test_what_failed_is_tried_again(tiny: Tiny, text: EvaluationText) -> None:
    """Nothing is remembered of it."""
    model = PreparedModel(tiny("llama"))
    with (
        mock.patch.object(windows, "evaluation_windows", side_effect=TextError("short")),
        pytest.raises(TextError, match="short"),
    ):
        text.windows_for(model)
    assert len(text.windows_for(model).rows) > 0
