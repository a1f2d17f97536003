"""Models side by side, all asked the same."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from applying import applied
from tokenizers import Tokenizer

from globalprune.artifacts.evaluations.evaluation import Comparison, SpeedSettings
from globalprune.artifacts.records import digest_bytes
from globalprune.errors import ModelNotFound, TextError, UsageError
from globalprune.evaluation.comparison import evaluate_models
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import EvaluateOptions
from globalprune.text.readers import TextUse, builtin_rows
from globalprune.text.source import BUILTIN

Tiny = Callable[[str], Path]
TEXT = "A text to judge by, of no great length. " * 3


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A file of text."""
    (tmp_path / "judge.txt").write_text(TEXT)
    return str(tmp_path / "judge.txt")


def evaluated(models: Sequence[Path | str], data: str = BUILTIN, **options: Any) -> Comparison:
    """The comparison of these models; without speed if it isn't asked for."""
    asked = EvaluateOptions(data, **({"speed": None} | options))
    return evaluate_models(list(map(PreparedModel, models)), asked)


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any load of a model a failure."""

    def load(*_: Any, **__: Any) -> None:
        pytest.fail("a model was loaded before all was checked")

    monkeypatch.setattr("globalprune.evaluation.candidates.load_model", load)


def test_before_and_after_are_judged_by_the_same_windows(
    tiny: Tiny, tmp_path: Path, data: str
) -> None:
    """In the order given; an uneven result is as good a model as any."""
    base = tiny("llama")
    out = applied(base, tmp_path, {0: {"attention": [0, 1, 2, 3]}}).out
    found = evaluated([base, out], data, seq_len=16)
    before, after = found.models
    assert (before.source, after.source) == (str(base), out)
    assert before.perplexity.windows == after.perplexity.windows == found.text.digest
    assert after.parameters == before.parameters - 4 * 1536
    assert after.file_bytes is not None
    assert before.file_bytes is not None
    assert after.file_bytes < before.file_bytes
    assert after.perplexity.value != before.perplexity.value
    assert found.warnings == ()


def test_the_record_says_what_was_read(tiny: Tiny, data: str) -> None:
    """Source, documents by digest, windows and tools: enough to do it again."""
    found = evaluated([tiny("llama")], data, seq_len=16, stride=20, samples=3)
    text = found.text
    assert (text.source, text.documents) == (data, 1)
    assert text.document_digests == (digest_bytes(TEXT.encode()),)
    assert (text.seq_len, text.stride, text.samples) == (16, 20, 3)
    assert (text.tokens, text.predicted_tokens) == (48, 45)
    assert (found.settings.batch_size, found.device) == (1, "cpu")
    assert found.versions.keys() >= {"globalprune", "torch", "transformers"}
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_the_default_text_is_the_held_out_builtin_one(tiny: Tiny) -> None:
    """So that a command without options judges by what calibration never sees."""
    found = evaluated([tiny("llama")], samples=1, seq_len=16)
    held_out = builtin_rows(TextUse.EVALUATION).values
    first = digest_bytes(str(next(iter(held_out))[1]["text"]).encode())
    assert (found.text.source, found.text.document_digests) == ("builtin", (first,))


def test_other_tokens_are_warned_of(tiny: Tiny, tmp_path: Path, data: str) -> None:
    """Perplexities by different tokens look comparable and aren't."""
    other = Path(shutil.copytree(tiny("llama"), tmp_path / "other"))
    spec = json.loads(Tokenizer.from_file(str(other / "tokenizer.json")).to_str())
    vocabulary = spec["model"]["vocab"]
    vocabulary["A"], vocabulary["z"] = vocabulary["z"], vocabulary["A"]
    (other / "tokenizer.json").write_text(json.dumps(spec))
    found = evaluated([tiny("llama"), other], data, seq_len=16)
    [warning] = found.warnings
    assert "different tokens, so their perplexities are not comparable" in warning
    first, second = (model.perplexity.windows for model in found.models)
    assert found.text.digest == first != second


def test_models_are_timed_side_by_side(tiny: Tiny, tmp_path: Path, data: str) -> None:
    """Every model has every round, by a prompt no longer than the text and the windows are."""
    out = applied(tiny("llama"), tmp_path, {1: {"mlp": list(range(20))}}).out
    asked = SpeedSettings(prompt_tokens=200, decoded_tokens=2, rounds=3)
    found = evaluated([tiny("llama"), out], data, seq_len=16, samples=2, speed=asked)
    assert found.settings.speed == asked.model_copy(update={"prompt_tokens": 32})
    for model in found.models:
        assert model.speed is not None
        assert len(model.speed.decode_tokens_per_second) == 3
    assert found.hardware.threads == 1
    assert found.hardware.cpu


REFUSED: list[Any] = [
    pytest.param({"dtype": "float8"}, r"--dtype float8: is not a precision; there are float32"),
    pytest.param({"dtype": "auto"}, r"--dtype auto: is not a precision"),
    pytest.param({"batch_size": 0}, r"--batch-size 0: must be at least 1"),
    pytest.param({"samples": 0}, r"--samples 0: must be at least 1"),
    pytest.param({"seq_len": 1}, r"--seq-len 1: must be at least 2"),
    pytest.param({"models": []}, r"no model to evaluate; name at least one"),
]


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("changes", "text"), REFUSED, ids=["dtype", "auto", "batch", "samples", "length", "no model"]
)
def test_options_are_refused_before_a_model_is_loaded(
    tiny: Tiny, data: str, changes: dict[str, Any], text: str
) -> None:
    """Each with the option's own name."""
    with pytest.raises(UsageError, match=text):
        evaluated(changes.pop("models", [tiny("llama")]), data, **changes)


@pytest.mark.usefixtures("no_loading")
def test_the_last_model_is_looked_for_before_the_first_is_loaded(
    tiny: Tiny, tmp_path: Path, data: str
) -> None:
    """A slip in the last name must not cost the hours of the first."""
    with pytest.raises(ModelNotFound, match=r"/typo: no such file or folder"):
        evaluated([tiny("llama"), tmp_path / "typo"], data)


@pytest.mark.usefixtures("no_loading")
def test_too_little_text_is_told_before_a_model_is_loaded(tiny: Tiny, data: str) -> None:
    """With the number of windows that there are."""
    with pytest.raises(TextError, match=r"judge\.txt: its 120 tokens give 7 windows of 16"):
        evaluated([tiny("llama")], data, seq_len=16, samples=8)
